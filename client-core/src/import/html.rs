//! HTML as Markdown: what it says and how it is arranged, not how it looks.
//!
//! A page is never a tree in memory: tags open and close styles, lists and quotes on a stack of bounded depth, and text is
//! written as it comes. What is nested deeper loses its arrangement and keeps its words.

use std::collections::HashMap;
use std::io::BufRead;

use super::inline::{Run, Style, address, render};
use super::markup::{Dialect, Markup, MarkupError, Tag, Token};

/// Lists and quotes within each other.
const DEPTH_MAX: usize = 32;
/// Elements that are open at once; deeper ones are read as if their tags were not there.
const OPEN_MAX: usize = 1_000;
/// Columns of a table; the words of further ones are left out.
const COLUMNS_MAX: usize = 100;
/// Longest title.
const TITLE_BYTES_MAX: usize = 4 * 1024;

/// Decides where links and pictures lead.
pub(crate) trait Links {
    /// The address of a link; `None`: no link.
    fn link(&mut self, tag: &Tag) -> Option<String> {
        tag.get("href").filter(|href| !href.trim_start().starts_with("javascript:")).map(str::to_owned)
    }

    /// What is shown here: address, description, and whether it is a picture.
    fn shown(&mut self, tag: &Tag) -> Option<(String, String, bool)> {
        let address = tag.get("src").filter(|src| !src.is_empty() && !src.starts_with("data:"))?;
        Some((address.to_owned(), tag.get("alt").unwrap_or_default().to_owned(), true))
    }
}

/// Links as they stand.
pub(crate) struct AsTheyStand;

impl Links for AsTheyStand {}

/// A page as Markdown.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// `<title>`.
    pub(crate) title: String,
    /// Its text.
    pub(crate) markdown: String,
    /// There was more of it than was asked for.
    pub(crate) is_cut: bool,
}

/// Reads HTML (or the text of an Evernote note, which is much the same) as Markdown, up to so many bytes.
///
/// # Errors
/// [`MarkupError::Io`]; whatever else is wrong with a page is read as it is.
pub(crate) fn markdown(input: impl BufRead, links: &mut dyn Links, bytes_max: usize) -> Result<Page, MarkupError> {
    let mut markup = Markup::new(input, Dialect::Html);
    let mut writer = Writer::new(links);
    loop {
        match markup.next() {
            Ok(Some(Token::Open(tag))) => writer.open(&tag),
            Ok(Some(Token::Close(name))) => writer.close(&name),
            Ok(Some(Token::Text(text))) => writer.text(&text),
            Err(error @ MarkupError::Io(_)) => return Err(error),
            Ok(None) | Err(_) => return Ok(writer.finish(false)),
        }
        if writer.bytes() > bytes_max {
            return Ok(writer.finish(true));
        }
    }
}

/// What an element changed, to be put right when it is closed.
#[derive(Debug)]
enum Effect {
    None,
    Block,
    /// The style before it.
    Style(Style),
    /// The link before it.
    Link(Option<String>),
    /// Its words are not for the page.
    Hidden,
    Title,
    Heading,
    /// A list, an item or a quote.
    Container,
    Pre,
    Table,
    Row,
    Cell,
}

/// What stands in front of each line.
#[derive(Debug)]
enum Container {
    Quote,
    /// The number of the next item, if its items have numbers.
    List(Option<u64>),
    /// Its marker until that is written, then as much room.
    Item {
        marker: String,
        room: usize,
        is_written: bool,
    },
}

pub(super) struct Writer<'l> {
    links: &'l mut dyn Links,
    out: String,
    title: String,
    elements: Vec<(String, Effect)>,
    /// How often each name is open.
    open: HashMap<String, u32>,
    containers: Vec<Container>,
    style: Style,
    link: Option<String>,
    runs: Vec<Run>,
    /// Whether this paragraph is something to do, and done.
    todo: Option<bool>,
    /// Bytes that are not in `out` yet.
    pending: usize,
    heading: usize,
    hidden: u32,
    titles: u32,
    pre: Option<String>,
    tables: u32,
    rows: Vec<Vec<String>>,
    cells: u32,
    /// Containers that this block and the one before have in common.
    common: usize,
    /// The block before was the first of an item.
    after_item: bool,
}

impl<'l> Writer<'l> {
    pub(super) fn new(links: &'l mut dyn Links) -> Self {
        Self {
            links,
            out: String::new(),
            title: String::new(),
            elements: Vec::new(),
            open: HashMap::new(),
            containers: Vec::new(),
            style: Style::default(),
            link: None,
            runs: Vec::new(),
            todo: None,
            pending: 0,
            heading: 0,
            hidden: 0,
            titles: 0,
            pre: None,
            tables: 0,
            rows: Vec::new(),
            cells: 0,
            common: 0,
            after_item: false,
        }
    }

    pub(super) fn finish(mut self, is_cut: bool) -> Page {
        while let Some((_, effect)) = self.elements.pop() {
            self.end(effect);
        }
        self.flush();
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        Page { title, markdown: self.out, is_cut }
    }

    pub(super) fn open(&mut self, tag: &Tag) {
        let style = Style { ..self.style };
        let effect = match tag.name.as_str() {
            "br" => return self.line_break(),
            "hr" => {
                self.flush();
                return self.block("***");
            }
            "img" | "en-media" | "embed" => return self.show(tag),
            "en-todo" => return self.begin_todo(tag.get("checked") == Some("true")),
            "input" => {
                if tag.get("type") == Some("checkbox") {
                    self.begin_todo(tag.get("checked").is_some());
                }
                return;
            }
            "head" | "select" | "textarea" | "svg" | "math" | "object" | "audio" | "video" | "canvas" | "en-crypt"
            | "icons" => Effect::Hidden,
            "title" => Effect::Title,
            "b" | "strong" => self.styled(Style { bold: true, ..style }),
            "i" | "em" | "cite" | "var" => self.styled(Style { italic: true, ..style }),
            "s" | "del" | "strike" => self.styled(Style { strike: true, ..style }),
            "code" | "tt" | "kbd" | "samp" => self.styled(Style { code: true, ..style }),
            "span" | "font" => self.styled(said_style(tag.get("style").unwrap_or_default(), style)),
            "a" => Effect::Link(std::mem::replace(&mut self.link, self.links.link(tag).map(|to| address(&to)))),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush();
                self.heading = usize::from(tag.name.as_bytes()[1] - b'0');
                Effect::Heading
            }
            "ul" | "menu" | "dir" => self.contain(Container::List(None)),
            "ol" => {
                let first = tag.get("start").and_then(|start| start.parse().ok()).unwrap_or(1);
                self.contain(Container::List(Some(first)))
            }
            "li" => self.item(tag),
            "blockquote" => self.contain(Container::Quote),
            "pre" | "listing" | "xmp" => self.begin_pre(),
            "div" if is_code_block(tag.get("style").unwrap_or_default()) => self.begin_pre(),
            "table" => self.begin_table(),
            "tr" if self.tables == 1 => {
                self.close_open(&["tr"], "table");
                self.rows.push(Vec::new());
                Effect::Row
            }
            "td" | "th" if self.tables == 1 => self.begin_cell(),
            "p" | "div" | "section" | "article" | "main" | "header" | "footer" | "nav" | "aside" | "figure"
            | "figcaption" | "dl" | "dt" | "dd" | "address" | "center" | "form" | "fieldset" | "details"
            | "summary" | "caption" | "body" | "html" | "en-note" | "thead" | "tbody" | "tr" | "td" | "th" => {
                self.flush();
                Effect::Block
            }
            _ => Effect::None,
        };
        if tag.is_empty || self.elements.len() == OPEN_MAX {
            return self.end(effect);
        }
        match &effect {
            Effect::Hidden => self.hidden += 1,
            Effect::Title => self.titles += 1,
            _ => {}
        }
        *self.open.entry(tag.name.clone()).or_default() += 1;
        self.elements.push((tag.name.clone(), effect));
    }

    pub(super) fn close(&mut self, name: &str) {
        if !self.open.contains_key(name) {
            if matches!(name, "p" | "div") {
                self.flush();
            }
            return;
        }
        while let Some((closed, effect)) = self.elements.pop() {
            self.forget(&closed);
            let (hidden, title) = (matches!(effect, Effect::Hidden), matches!(effect, Effect::Title));
            self.end(effect);
            self.hidden -= u32::from(hidden);
            self.titles -= u32::from(title);
            if closed == name {
                return;
            }
        }
    }

    /// Bytes of what is written so far.
    pub(super) const fn bytes(&self) -> usize {
        self.out.len() + self.pending
    }

    fn forget(&mut self, name: &str) {
        if let Some(count) = self.open.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(name);
            }
        }
    }

    /// Closes the innermost of these that was not closed, up to one that bounds them.
    fn close_open(&mut self, names: &[&str], bound: &str) {
        let within = self.elements.iter().rev().take_while(|(name, _)| name != bound);
        let unclosed = within.map(|(name, _)| name.as_str()).find(|name| names.contains(name));
        if let Some(name) = unclosed.map(str::to_owned) {
            self.close(&name);
        }
    }

    fn end(&mut self, effect: Effect) {
        match effect {
            Effect::None | Effect::Hidden | Effect::Title | Effect::Row => {}
            Effect::Block => {
                match &mut self.pre {
                    Some(pre) => pre.push('\n'),
                    None => self.flush(),
                };
            }
            Effect::Style(before) => self.style = before,
            Effect::Link(before) => self.link = before,
            Effect::Heading => {
                self.flush();
                self.heading = 0;
            }
            Effect::Container => {
                self.flush();
                self.containers.pop();
                self.common = self.common.min(self.containers.len());
            }
            Effect::Pre => self.end_pre(),
            Effect::Table => self.end_table(),
            Effect::Cell => {
                self.flush();
                self.cells = self.cells.saturating_sub(1);
            }
        }
    }

    const fn styled(&mut self, style: Style) -> Effect {
        Effect::Style(std::mem::replace(&mut self.style, style))
    }

    fn contain(&mut self, container: Container) -> Effect {
        self.flush();
        if self.containers.len() >= DEPTH_MAX || self.cells > 0 || self.pre.is_some() {
            return Effect::Block;
        }
        self.containers.push(container);
        Effect::Container
    }

    fn item(&mut self, tag: &Tag) -> Effect {
        self.flush();
        let lists = ["ul", "ol", "menu", "dir"];
        let mut within = self.elements.iter().rev().take_while(|(name, _)| !lists.contains(&name.as_str()));
        if within.any(|(name, _)| name == "li") {
            self.close("li");
        }
        let style = tag.get("style").unwrap_or_default();
        let checked = [("--en-checked:true", true), ("--en-checked:false", false)];
        let done = checked.into_iter().find(|(said, _)| style.contains(said)).map(|(_, done)| done);
        let marker = match self.containers.last_mut() {
            Some(Container::List(Some(number))) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => "- ".to_owned(),
        };
        let room = marker.len();
        let marker = marker + done.map_or("", box_of);
        self.contain(Container::Item { marker, room, is_written: false })
    }

    fn begin_todo(&mut self, done: bool) {
        if self.pre.is_some() || self.hidden > 0 {
            return;
        }
        if self.runs.iter().any(|run| !run.text.trim().is_empty()) {
            return self.push_raw(box_of(done));
        }
        match self.containers.last_mut() {
            Some(Container::Item { marker, is_written: false, .. }) => marker.push_str(box_of(done)),
            _ => self.todo = Some(done),
        }
    }

    fn begin_pre(&mut self) -> Effect {
        self.flush();
        if self.pre.is_some() || self.cells > 0 {
            return Effect::Block;
        }
        self.pre = Some(String::new());
        Effect::Pre
    }

    fn end_pre(&mut self) {
        let Some(text) = self.pre.take() else { return };
        let text = text.trim_matches('\n');
        let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        self.block(&format!("{fence}\n{text}\n{fence}"));
        self.pending = 0;
    }

    fn begin_table(&mut self) -> Effect {
        self.flush();
        if self.pre.is_some() || (self.tables > 0 && self.cells == 0) {
            return Effect::Block;
        }
        self.tables += 1;
        Effect::Table
    }

    fn begin_cell(&mut self) -> Effect {
        self.close_open(&["td", "th"], "table");
        self.flush();
        if self.rows.is_empty() {
            self.rows.push(Vec::new());
        }
        match self.rows.last_mut() {
            Some(row) if row.len() < COLUMNS_MAX => row.push(String::new()),
            _ => return Effect::Hidden,
        }
        self.cells += 1;
        Effect::Cell
    }

    fn end_table(&mut self) {
        self.flush();
        self.tables = self.tables.saturating_sub(1);
        if self.tables > 0 {
            return;
        }
        let mut rows = std::mem::take(&mut self.rows);
        self.pending = 0;
        rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        if columns < 2 {
            // Pages are laid out by tables of one column.
            return rows.concat().iter().for_each(|cell| self.block(cell));
        }
        let line = |row: &[String]| {
            let cells = (0..columns).map(|at| row.get(at).map_or("", String::as_str).replace('|', "\\|"));
            format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = format!("|{}", " --- |".repeat(columns));
        let lines: Vec<String> = rows.iter().map(|row| line(row)).collect();
        let (head, rest) = lines.split_at(lines.len().min(1));
        self.block(&[head, &[rule], rest].concat().join("\n"));
    }

    fn show(&mut self, tag: &Tag) {
        if self.hidden > 0 || self.pre.is_some() {
            return;
        }
        let Some((to, about, is_picture)) = self.links.shown(tag) else { return };
        let about: String = about.chars().filter(|char| !"[]\\`\n\r".contains(*char)).collect();
        let sign = if is_picture { "!" } else { "" };
        self.push_raw(&format!("{sign}[{about}]({})", address(&to)));
    }

    fn push_raw(&mut self, text: &str) {
        self.pending += text.len();
        let link = self.link.clone();
        self.runs.push(Run { text: text.to_owned(), style: Style::default(), link, raw: true });
    }

    fn line_break(&mut self) {
        match &mut self.pre {
            Some(pre) => pre.push('\n'),
            None if self.runs.is_empty() || self.hidden > 0 => {}
            None if self.heading > 0 || self.cells > 0 => self.push_raw(" "),
            None => self.push_raw("  \n"),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if self.titles > 0 {
            let room = TITLE_BYTES_MAX.saturating_sub(self.title.len());
            self.title.extend(text.chars().take(room / 4));
            return;
        }
        if self.hidden > 0 {
            return;
        }
        self.pending += text.len();
        if let Some(pre) = &mut self.pre {
            return pre.push_str(text);
        }
        let ends_in_space = self.runs.last().is_none_or(|run| run.text.ends_with([' ', '\n']));
        let mut words = String::with_capacity(text.len());
        for char in text.chars() {
            let is_space = char.is_ascii_whitespace();
            if !is_space {
                words.push(if char == '\u{a0}' { ' ' } else { char });
            } else if if words.is_empty() { !ends_in_space } else { !words.ends_with(' ') } {
                words.push(' ');
            }
        }
        if words.is_empty() {
            return;
        }
        match self.runs.last_mut() {
            Some(run) if !run.raw && run.style == self.style && run.link == self.link => run.text.push_str(&words),
            _ => self.runs.push(Run { text: words, style: self.style, link: self.link.clone(), raw: false }),
        }
    }

    /// Ends a paragraph.
    fn flush(&mut self) {
        if self.pre.is_some() {
            return;
        }
        let runs = std::mem::take(&mut self.runs);
        let todo = self.todo.take();
        let text = render(&runs);
        if self.cells > 0 {
            // What was read stays in memory until the table ends.
            if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()).filter(|_| !text.is_empty()) {
                if !cell.is_empty() {
                    cell.push(' ');
                }
                cell.push_str(&text.replace("  \n", " ").replace('\n', " "));
            }
            return;
        }
        if self.tables == 0 {
            self.pending = 0;
        }
        match todo {
            _ if text.is_empty() => {}
            Some(done) => {
                let marker = format!("- {}", box_of(done));
                self.containers.push(Container::Item { marker, room: 2, is_written: false });
                self.block(&text);
                self.containers.pop();
                self.common = self.common.min(self.containers.len());
            }
            None if self.heading > 0 => {
                let text = text.replace("  \n", " ").replace('\n', " ");
                self.block(&format!("{} {text}", "#".repeat(self.heading)));
            }
            None => self.block(&text),
        }
    }

    /// Writes one block, with what its containers ask for in front of each line.
    fn block(&mut self, text: &str) {
        if text.is_empty() || self.hidden > 0 {
            return;
        }
        let unwritten = |container: &Container| matches!(container, Container::Item { is_written: false, .. });
        let begins_item = self.containers.iter().any(unwritten);
        let is_next_item = begins_item && self.after_item;
        if !self.out.is_empty() && !is_next_item {
            let blank = prefix(&mut self.containers[..self.common]);
            self.out.push_str(blank.trim_end());
            self.out.push('\n');
        }
        for line in text.split('\n') {
            let prefix = prefix(&mut self.containers);
            let line = if line.is_empty() { prefix.trim_end().to_owned() } else { prefix + line };
            self.out.push_str(&line);
            self.out.push('\n');
        }
        self.common = self.containers.len();
        self.after_item = begins_item;
    }
}

fn prefix(containers: &mut [Container]) -> String {
    let mut prefix = String::new();
    for container in containers {
        match container {
            Container::Quote => prefix.push_str("> "),
            Container::List(_) => {}
            Container::Item { marker, is_written: is_written @ false, .. } => {
                prefix.push_str(marker);
                *is_written = true;
            }
            Container::Item { room, .. } => prefix.extend(std::iter::repeat_n(' ', *room)),
        }
    }
    prefix
}

const fn box_of(done: bool) -> &'static str {
    if done { "[x] " } else { "[ ] " }
}

fn is_code_block(style: &str) -> bool {
    style.contains("-en-codeblock")
}

/// What `style="…"` says of letters.
fn said_style(said: &str, style: Style) -> Style {
    let said: String = said.chars().take(1024).filter(|char| !char.is_whitespace()).collect();
    let said = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    Style {
        bold: style.bold || has(&["font-weight:bold", "font-weight:6", "font-weight:7", "font-weight:8"]),
        italic: style.italic || has(&["font-style:italic"]),
        strike: style.strike || has(&["line-through"]),
        ..style
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(html: &str) -> String {
        markdown(html.as_bytes(), &mut AsTheyStand, 1 << 20).unwrap().markdown
    }

    #[test]
    fn words_and_their_arrangement_come_over() {
        let html = "<html><head><title>A\n page</title><style>p{}</style></head><body><h1>One <i>two</i></h1>\
                    <p>Some <b>bold <i>and</i></b> plain,<br>next * line\n of <a href='http://x/y z'>a link</a>.\
                    <p><img src=a.png alt='[pic]'><blockquote><p>said<p>twice</blockquote>\
                    <pre>let a = 1;\n  b</pre><hr>end</body></html>";
        let page = markdown(html.as_bytes(), &mut AsTheyStand, 1 << 20).unwrap();
        assert_eq!(page.title, "A page");
        let expected = "# One *two*\n\nSome **bold *and*** plain,  \nnext \\* line of [a link](http://x/y%20z).\n\n\
                        ![pic](a.png)\n\n> said\n>\n> twice\n\n```\nlet a = 1;\n  b\n```\n\n***\n\nend\n";
        assert_eq!(page.markdown, expected);
    }

    #[test]
    fn lists_todos_and_tables_come_over() {
        let html = "<ul><li>one<li><p>two</p><ol start=3><li>in</li><li>side</li></ol><li>three</ul>\
                    <div><en-todo checked=\"true\"/>milk</div><div><en-todo/>bread</div>\
                    <ul style=\"--en-todo:true;\"><li style=\"--en-checked:false;\"><div>eggs</div></li></ul>\
                    <table><tr><th>a<th>b|c<tr><td><b>1</b><td><p>x<p>y</table><table><tr><td>laid out</td></tr></table>";
        let expected = "- one\n- two\n  3. in\n  4. side\n- three\n- [x] milk\n- [ ] bread\n- [ ] eggs\n\n\
                        | a | b\\|c |\n| --- | --- |\n| **1** | x y |\n\nlaid out\n";
        assert_eq!(said(html), expected);
    }

    #[test]
    fn what_looks_like_markdown_is_kept_as_text() {
        let html = "<p># no *head*<p>1. not a [list]<p>- nor `this`<p>&lt;b&gt; a_b _c_ &amp;amp; \\ ~~x~~<p>> q";
        let expected = "\\# no \\*head\\*\n\n1\\. not a \\[list\\]\n\n\\- nor \\`this\\`\n\n\
                        \\<b> a_b \\_c\\_ \\&amp; \\\\ \\~~x\\~~\n\n\\> q\n";
        assert_eq!(said(html), expected);
    }

    #[test]
    fn nesting_without_end_keeps_the_words_and_costs_little() {
        for name in ["div", "ul><li", "blockquote", "table><tr><td", "b", "span", "pre", "ol"] {
            let closing = name.rsplit("><").fold(String::new(), |closing, name| format!("{closing}</{name}>"));
            let (deep, open) = (100_000, format!("<{name}>"));
            let text = said(&format!("{}words{}after", open.repeat(deep), closing.repeat(deep)));
            assert!(text.contains("words") && text.contains("after") && text.len() < 500, "{name}: {}", text.len());
        }
        assert_eq!(said(&"</b></p></li>".repeat(100_000)), "");
        let unclosed = said(&"<p>a<b>".repeat(50_000));
        assert!(unclosed.len() < 1 << 20);
    }

    #[test]
    fn a_page_is_read_up_to_a_limit() {
        let page = markdown("word ".repeat(10_000).as_bytes(), &mut AsTheyStand, 20_000).unwrap();
        assert!(page.is_cut && page.markdown.len() < 60_000);
    }
}
