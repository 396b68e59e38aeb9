//! What a note from elsewhere looks like as a file: its name, and its front matter.

use std::collections::HashMap;

use crate::export::{links::folded, portable};
use crate::registry::{FRONT_BYTES_MAX, PROPERTY_BYTES_MAX, PROPERTY_NAME_CHARS_MAX};

/// Names that are taken in one import, so that the same file gives the same names again.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, u32>);

impl Names {
    /// A path for a note in a folder.
    pub(super) fn free(&mut self, folder: &str, title: &str) -> String {
        let name = portable(title);
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        self.numbered(&path, ".md")
    }

    /// A name for a file beside a note.
    pub(super) fn free_file(&mut self, name: &str) -> String {
        let (stem, ending) = name.rfind('.').map_or((name, ""), |dot| name.split_at(dot));
        self.numbered(stem, ending)
    }

    fn numbered(&mut self, stem: &str, ending: &str) -> String {
        let mut wanted = format!("{stem}{ending}");
        loop {
            let count = self.0.entry(folded(&wanted)).or_default();
            *count += 1;
            match *count {
                1 => return wanted,
                // The number may itself be a name that is taken.
                number => wanted = format!("{stem} ({number}){ending}"),
            }
        }
    }
}

/// Front matter that is written.
#[derive(Debug, Default)]
pub(super) struct Front(String);

impl Front {
    /// A property, if it says something.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, &quoted(value));
        }
    }

    /// A property with several values, if there are any.
    pub(super) fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            self.put(name, &format!("[{}]", values.join(", ")));
        }
    }

    fn put(&mut self, name: &str, value: &str) {
        let is_plain = name.chars().count() <= PROPERTY_NAME_CHARS_MAX
            && name.chars().all(|char| char.is_alphanumeric() || "-_ ".contains(char));
        let fits = value.len() <= PROPERTY_BYTES_MAX && self.0.len() + value.len() < FRONT_BYTES_MAX / 2;
        if is_plain && !name.is_empty() && fits {
            self.0.push_str(&format!("{name}: {value}\n"));
        }
    }

    /// The whole file.
    pub(super) fn before(self, body: &str) -> String {
        if self.0.is_empty() { body.to_owned() } else { format!("---\n{}---\n\n{body}", self.0) }
    }
}

/// A value in quotes where it could be read as something else.
fn quoted(value: &str) -> String {
    let begins = value.chars().next().is_some_and(char::is_alphabetic);
    let is_plain = begins
        && value.chars().all(|char| char.is_alphanumeric() || "-_./ ".contains(char))
        && !value.ends_with(' ')
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&value.to_ascii_lowercase().as_str());
    let is_time =
        value.len() > 10 && value.ends_with('Z') && value.bytes().all(|byte| b"0123456789-:.TZ".contains(&byte));
    if is_plain || is_time { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::notes::markdown::FrontMatter;

    #[test]
    fn front_matter_reads_as_it_was_meant() {
        let odd = "a: \"b\" # c\n\u{1} - ü\\ [x]";
        let mut front = Front::default();
        front.text("title", odd);
        front.text("empty", "");
        front.text("bad:name", "x");
        front.text("created", "2020-01-31T23:59:59Z");
        front.text("number", "42");
        front.list("tags", &["a b".to_owned(), "no".to_owned(), "c, d".to_owned()]);
        let text = front.before("body");
        let (matter, rest) = FrontMatter::split(&text);
        let matter = matter.unwrap();
        assert_eq!(rest.trim_start(), "body");
        assert_eq!(matter.property("title").and_then(|value| value.as_str()), Some(odd), "{text}");
        assert_eq!(matter.property("number").and_then(|value| value.as_str()), Some("42"));
        assert_eq!(matter.property("tags"), Some(&serde_json::json!(["a b", "no", "c, d"])));
        assert_eq!((matter.properties().len(), matter.property("empty")), (4, None));
    }

    #[test]
    fn names_are_told_apart_the_same_way_each_time() {
        let mut names = Names::default();
        let paths: Vec<_> = ["A", "a", "A (2)", "x/y", "A"].iter().map(|title| names.free("B", title)).collect();
        assert_eq!(paths, ["B/A.md", "B/a (2).md", "B/A (2) (2).md", "B/x-y.md", "B/A (3).md"]);
        assert_eq!((names.free_file("a.png"), names.free_file("A.png")), ("a.png".into(), "A (2).png".into()));
    }
}
