//! How goals are shown to people: bars, runs and the last days in one line each.

use lifeos_client_core::client::GoalView;
use lifeos_client_core::modules::goals::{ObjectiveOf, Standing};
use serde_json::Value;

use crate::page::{Page, many_lines, one_line, short};

/// Width of a bar in characters.
const BAR: usize = 10;
/// Days that a list shows.
const LIST_DAYS: usize = 14;

fn text<'v>(view: &'v GoalView, name: &str) -> &'v str {
    view.goal.values.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A number with as few decimals as it needs, two at most.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A share from 0 to 1 as a bar with its percentage.
fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{} {:3.0} %", "█".repeat(full), "░".repeat(BAR - full), share * 100.0)
}

/// Amounts as a line of blocks, the largest the highest.
fn sparkline(amounts: &[Option<f64>]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let known = || amounts.iter().copied().flatten().filter(|amount| amount.is_finite());
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let block = |amount: f64| {
        let share = if high > low { (amount - low) / (high - low) } else { 1.0 };
        BLOCKS[(share.clamp(0.0, 1.0) * 7.0).round() as usize]
    };
    amounts.iter().map(|amount| amount.filter(|amount| amount.is_finite()).map_or('·', block)).collect()
}

/// The last days: of what was measured how much, else which were kept.
fn days(standing: &Standing, most: usize) -> String {
    let from = standing.last_amounts.len().saturating_sub(most);
    if standing.last_amounts.iter().any(Option::is_some) {
        return sparkline(&standing.last_amounts[from..]);
    }
    let shown = |day: char| match day {
        '+' => '■',
        'x' => '×',
        's' => '–',
        'p' => '~',
        ' ' => ' ',
        _ => '·',
    };
    standing.last_days.chars().skip(standing.last_days.chars().count().saturating_sub(most)).map(shown).collect()
}

/// Where it is, of where it is to come to.
fn value(view: &GoalView) -> String {
    let Some(value) = view.standing.value else { return String::new() };
    let (target, unit) = (text(view, "target"), text(view, "unit"));
    let of = if target.is_empty() { String::new() } else { format!("/{target}") };
    one_line(format!("{}{of} {unit}", number(value)).trim_end())
}

fn streak(standing: &Standing) -> String {
    standing.streaks.as_ref().map_or_else(String::new, |of| format!("{} in a row (best {})", of.current, of.longest))
}

fn state(view: &GoalView) -> String {
    match text(view, "status") {
        "" | "active" if view.standing.rests => "rests".to_owned(),
        "" | "active" => view.standing.track.map_or_else(String::new, |track| match track {
            "on" => "on track".to_owned(),
            "at_risk" => "at risk".to_owned(),
            _ => "off track".to_owned(),
        }),
        other => one_line(other),
    }
}

pub(super) fn draw_list(goals: &[GoalView], page: &mut Page) {
    let rows = goals.iter().map(|view| {
        let title = format!("{}{}", "  ".repeat(view.depth.min(8) as usize), one_line(text(view, "title")));
        vec![
            short(&view.goal.id),
            title,
            one_line(text(view, "type")),
            view.standing.progress.map(bar).unwrap_or_default(),
            value(view),
            streak(&view.standing),
            days(&view.standing, LIST_DAYS),
            state(view),
        ]
    });
    page.table(&rows.collect::<Vec<_>>());
}

pub(super) fn draw(view: &GoalView, page: &mut Page) {
    let standing = &view.standing;
    page.line(page.bold(&one_line(text(view, "title"))));
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.trim().is_empty() {
            rows.push(vec![name.to_owned(), value]);
        }
    };
    row("id", short(&view.goal.id));
    row("type", one_line(text(view, "type")));
    row("from", one_line(text(view, "start")));
    row("until", one_line(text(view, "end")));
    row("value", value(view));
    row("progress", standing.progress.map(bar).unwrap_or_default());
    row("stands", state(view));
    row("streak", streak(standing));
    row("kept", standing.streaks.as_ref().and_then(|of| of.completion).map(bar).unwrap_or_default());
    row("a day to go", standing.required_a_day.map(number).unwrap_or_default());
    if let Some(of) = &standing.forecast {
        let until = of.p90.map_or_else(|| "never".to_owned(), |day| day.to_string());
        let from = of.p10.map_or_else(|| "?".to_owned(), |day| day.to_string());
        row("likely on", format!("{} (eight in ten: {from} to {until})", of.on));
    }
    if standing.milestones > 0 {
        row("milestones", format!("{} of {}", standing.milestones_done, standing.milestones));
        row("next by", standing.next_milestone.map(|day| day.to_string()).unwrap_or_default());
    }
    row("last days", days(standing, usize::MAX));
    row("why", many_lines(text(view, "why")));
    page.table(&rows);
    standing.objective.iter().for_each(|of| draw_results(of, page));
    for entry in view.goal.lists.get("milestone").into_iter().flatten() {
        let of = |name: &str| one_line(entry[name].as_str().unwrap_or_default());
        let tick = if entry["done"].is_string() { "[x]" } else { "[ ]" };
        page.line(format_args!("{tick} {}  {}", of("title"), of("due")).to_string().trim_end());
    }
    for mark in &view.goal.marks {
        page.line(format_args!("{} {}: {}", mark.mark, one_line(&mark.at), one_line(&mark.detail)));
    }
}

fn draw_results(of: &ObjectiveOf, page: &mut Page) {
    let rows = of.results.iter().map(|result| {
        let target = result.target.map(|target| format!("/{}", number(target))).unwrap_or_default();
        vec![
            format!("  {}", one_line(&result.title)),
            result.kind.to_owned(),
            result.value.map(|value| format!("{}{target}", number(value))).unwrap_or_default(),
            result.score.map(|score| format!("{score:.1}")).unwrap_or_default(),
            result.band.unwrap_or_default().to_owned(),
        ]
    });
    page.table(&rows.collect::<Vec<_>>());
    for title in &of.broken {
        page.line(format_args!("  a guardrail is broken: {}", one_line(title)));
    }
}

pub(super) fn draw_objectives(objectives: &[GoalView], page: &mut Page) {
    for view in objectives {
        let of = view.standing.objective.as_ref();
        let score = of.and_then(|of| of.score).map(|score| format!("{score:.1}")).unwrap_or_default();
        let band = of.and_then(|of| of.band).unwrap_or_default();
        let title = page.bold(&one_line(text(view, "title")));
        page.line(format!("{} {title}  {score} {band}", short(&view.goal.id)).trim_end());
        of.into_iter().for_each(|of| draw_results(of, page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_blocks_and_numbers_are_as_long_as_what_they_show() {
        assert_eq!(bar(0.25), "███░░░░░░░  25 %");
        assert_eq!(bar(1.0), "██████████ 100 %");
        assert_eq!(sparkline(&[Some(0.0), None, Some(7.0), Some(f64::NAN)]), "▁·█·");
        assert_eq!(sparkline(&[Some(3.0)]), "█");
        assert_eq!([number(2.0), number(-0.001), number(71.456)], ["2", "0", "71.46"]);
    }
}
