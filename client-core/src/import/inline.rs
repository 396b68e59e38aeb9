//! The inside of a paragraph as Markdown: emphasis that closes where it opened, and text that stays text.

/// How letters are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    pub(super) bold: bool,
    pub(super) italic: bool,
    pub(super) strike: bool,
    pub(super) code: bool,
}

/// A piece of a paragraph.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) text: String,
    pub(super) style: Style,
    pub(super) link: Option<String>,
    /// Markdown already.
    pub(super) raw: bool,
}

/// A paragraph, without space around it; empty if there are no words in it.
pub(super) fn render(runs: &[Run]) -> String {
    let mut out = String::new();
    for linked in runs.chunk_by(|one, other| one.link == other.link) {
        let text = styled(linked);
        let words = text.trim();
        let target = linked.first().and_then(|run| run.link.as_deref()).filter(|link| !link.is_empty());
        match target {
            Some(target) if !words.is_empty() => {
                let (before, after) = text.split_once(words).unwrap_or_default();
                out.push_str(before);
                // What is shown as it is called is shown once.
                if linked.iter().map(|run| run.text.trim()).eq([target]) && target.starts_with("http") {
                    out.push_str(&format!("<{target}>"));
                } else {
                    out.push_str(&format!("[{}]({target})", words.replace("  \n", " ")));
                }
                out.push_str(after);
            }
            _ => out.push_str(&text),
        }
    }
    let lines: Vec<String> = out.trim().split('\n').map(|line| line_start(line.trim_start())).collect();
    lines.join("\n")
}

/// Emphasis as a stack of signs: what continues stays open, space stands outside.
fn styled(runs: &[Run]) -> String {
    let (mut out, mut open, mut space) = (String::new(), Vec::new(), String::new());
    for run in runs {
        if run.raw || run.style.code {
            close(&mut out, &mut open, &[]);
            out.push_str(&std::mem::take(&mut space));
            out.push_str(&if run.raw { run.text.clone() } else { code(&run.text) });
            continue;
        }
        let words = run.text.trim_matches(' ');
        let Some((before, after)) = run.text.split_once(words).filter(|_| !words.is_empty()) else {
            space.push_str(&run.text);
            continue;
        };
        space.push_str(before);
        let wanted = signs(run.style);
        let closed = close(&mut out, &mut open, &wanted);
        let opened: Vec<&str> = wanted.into_iter().filter(|sign| !open.contains(sign)).collect();
        // A sign between a full stop and a letter would not be read as one.
        let is_letter = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
        let before_sign = out.trim_end_matches(['*', '~']).chars().next_back();
        let stuck_close = closed && space.is_empty() && is_letter(words.chars().next()) && !is_letter(before_sign);
        let stuck_open = !opened.is_empty()
            && space.is_empty()
            && is_letter(out.chars().next_back())
            && !is_letter(words.chars().next());
        if stuck_close || stuck_open {
            space.push(' ');
        }
        out.push_str(&std::mem::take(&mut space));
        for sign in &opened {
            out.push_str(sign);
            open.push(*sign);
        }
        escape(words, &mut out);
        space.push_str(after);
    }
    close(&mut out, &mut open, &[]);
    out + &space
}

fn signs(style: Style) -> Vec<&'static str> {
    let all = [(style.bold, "**"), (style.strike, "~~"), (style.italic, "*")];
    all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, sign)| sign).collect()
}

/// Closes what is not wanted any more, and what was opened within; whether anything was.
fn close(out: &mut String, open: &mut Vec<&'static str>, wanted: &[&str]) -> bool {
    let kept = open.iter().position(|sign| !wanted.contains(sign)).unwrap_or(open.len());
    let closes = kept < open.len();
    for sign in open.drain(kept..).rev() {
        out.push_str(sign);
    }
    closes
}

fn code(text: &str) -> String {
    let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or(0);
    let (fence, room) = ("`".repeat(longest + 1), if longest > 0 { " " } else { "" });
    if text.trim().is_empty() { text.to_owned() } else { format!("{fence}{room}{text}{room}{fence}") }
}

/// Text in which nothing is a sign.
fn escape(text: &str, out: &mut String) {
    let mut before = out.chars().next_back();
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        let next = rest.clone().next();
        let is_word = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
        let is_sign = match char {
            '\\' | '`' | '*' | '[' | ']' | '<' => true,
            '_' => !(is_word(before) && is_word(next)),
            '~' => next == Some('~'),
            '&' => next.is_some_and(|next| next.is_ascii_alphabetic() || next == '#'),
            _ => false,
        };
        if is_sign {
            out.push('\\');
        }
        out.push(char);
        before = Some(char);
    }
}

/// A line that would begin something else than a paragraph.
fn line_start(line: &str) -> String {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let behind = |at: usize| line[at..].chars().next();
    let ends = |char: Option<char>| char.is_none_or(|char| char == ' ');
    let at = match line.bytes().next() {
        Some(b'#') => Some(0).filter(|_| ends(line.trim_start_matches('#').chars().next())),
        Some(b'>') => Some(0),
        Some(sign @ (b'-' | b'+' | b'=')) => {
            let is_rule = line.bytes().all(|byte| byte == sign || byte == b' ');
            Some(0).filter(|_| is_rule || (sign != b'=' && ends(behind(1))))
        }
        Some(b'0'..=b'9') if digits < 10 => {
            Some(digits).filter(|_| matches!(behind(digits), Some('.' | ')')) && ends(behind(digits + 1)))
        }
        _ => None,
    };
    match at {
        Some(at) => format!("{}\\{}", &line[..at], &line[at..]),
        None => line.to_owned(),
    }
}

/// An address as it may stand in `(…)`.
pub(super) fn address(to: &str) -> String {
    let mut out = String::with_capacity(to.len());
    for char in to.trim().chars() {
        match char {
            ' ' => out.push_str("%20"),
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '\\' => out.push_str("%5C"),
            char if char.is_control() => {}
            char => out.push(char),
        }
    }
    out
}
