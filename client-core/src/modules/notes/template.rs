//! Templates: what stands between double braces in one is filled in once, when a note is made from it.

use jiff::Zoned;
use jiff::fmt::strtime::BrokenDownTime;

/// Most characters between braces that are taken for a variable.
const VARIABLE_CHARS_MAX: usize = 64;

/// What a template's variables stand for.
#[derive(Debug, Clone)]
pub struct Filling<'a> {
    /// `{{title}}`.
    pub title: &'a str,
    /// The day the note is about, and the time at which it is made, where the person is.
    pub now: &'a Zoned,
}

impl Filling<'_> {
    /// The value of a variable; `None` for one that is not known.
    fn value(&self, variable: &str) -> Option<String> {
        let (name, format) = match variable.split_once(':') {
            Some((name, format)) => (name.trim(), Some(format.trim())),
            None => (variable.trim(), None),
        };
        let days = |days: i64| self.now.checked_add(jiff::Span::new().days(days)).ok();
        let (time, usual) = match name {
            "title" if format.is_none() => return Some(self.title.to_owned()),
            "date" => (self.now.clone(), "%Y-%m-%d"),
            "time" => (self.now.clone(), "%H:%M"),
            "weekday" => (self.now.clone(), "%A"),
            "week" => (self.now.clone(), "%G-W%V"),
            "yesterday" => (days(-1)?, "%Y-%m-%d"),
            "tomorrow" => (days(1)?, "%Y-%m-%d"),
            _ => return None,
        };
        BrokenDownTime::from(&time).to_string(format.unwrap_or(usual)).ok()
    }
}

/// The text with its variables filled in. What is not known, or has a format that cannot be, stays as it is written.
///
/// Known are `title`, `date`, `time`, `weekday`, `week`, `yesterday`, `tomorrow`; all but `title` take a format as
/// `strftime` has it: `{{date:%d.%m.%Y}}`.
#[must_use]
pub fn fill(template: &str, filling: &Filling<'_>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        let (before, behind) = rest.split_at(open);
        filled.push_str(before);
        let inside = &behind[2..];
        let variable = inside.find("}}").map(|end| &inside[..end]);
        let known = variable.filter(|name| name.len() <= VARIABLE_CHARS_MAX && !name.contains(['\n', '{']));
        if let Some((variable, value)) = known.and_then(|name| Some((name, filling.value(name)?))) {
            filled.push_str(&value);
            rest = &inside[variable.len() + 2..];
        } else {
            filled.push('{');
            rest = &behind[1..];
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str) -> String {
        let now: Zoned = "2026-12-31T23:05[Europe/Berlin]".parse().unwrap();
        fill(template, &Filling { title: "Plan {{date}}", now: &now })
    }

    #[test]
    fn variables_are_filled_in_once_and_with_the_format_that_is_asked_for() {
        assert_eq!(filled("# {{title}}"), "# Plan {{date}}", "what is filled in is not filled in again");
        assert_eq!(filled("{{date}} {{ time }} {{weekday}} {{week}}"), "2026-12-31 23:05 Thursday 2026-W53");
        assert_eq!(filled("[[{{yesterday}}]] | [[{{tomorrow:%d.%m.%Y}}]]"), "[[2026-12-30]] | [[01.01.2027]]");
    }

    #[test]
    fn what_is_no_variable_stays_as_it_is_written() {
        for template in
            ["{{unknown}}", "{{date", "{{ }}", "{{date:%}}", "{{title:%Y}}", "{{\ndate}}", "{ {date} }", "}}{{"]
        {
            assert_eq!(filled(template), template);
        }
        assert_eq!(filled("{{x {{date}}"), "{{x 2026-12-31");
        assert_eq!(filled("{{{date}}}"), "{{{date}}}".replace("{{date}}", "2026-12-31"));
    }

    proptest! {
        #[test]
        fn any_text_can_be_filled_in(text in r"(\{\{|\}\}|date|:|%[A-Za-z]|title|é|\n|.){0,40}") {
            let _ = filled(&text);
        }
    }
}
