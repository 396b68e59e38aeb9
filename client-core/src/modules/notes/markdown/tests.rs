//! The round trip, and what editing a block does to its text.

use proptest::prelude::*;

use super::*;

fn assert_round_trip(text: &str) {
    let parsed = parse(text);
    assert_eq!(render(&parsed), text, "{parsed:#?}");
    for block in &parsed.body.blocks {
        let mut normal = block.clone();
        normal.normalize();
        assert_eq!(&normal, block, "not in normal form");
    }
}

fn only(text: &str) -> Block {
    let body = parse_body(text);
    assert_eq!(body.blocks.len(), 1, "{body:#?}");
    body.blocks[0].clone()
}

fn kinds(text: &str) -> Vec<String> {
    parse_body(text).blocks.iter().map(|block| block.kind.as_str().to_owned()).collect()
}

fn marks(text: &str) -> Vec<(String, String)> {
    let said = |(name, value): (&String, &String)| {
        if value.is_empty() { name.clone() } else { format!("{name}={value}") }
    };
    let all = |span: &Span| span.marks.iter().map(said).collect::<Vec<_>>().join("+");
    only(text).spans.iter().map(|span| (span.text.clone(), all(span))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

const PIECES: &[&str] = &[
    "\n",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " ",
    "  ",
    "    ",
    "\t",
    "a",
    "word",
    "é",
    "日本",
    "🦀",
    "\u{feff}",
    "\u{a0}",
    "*",
    "**",
    "***",
    "_",
    "__",
    "~~",
    "==",
    "`",
    "``",
    "```",
    "~~~",
    "$",
    "$$",
    "[",
    "]",
    "[[",
    "]]",
    "![[",
    "|",
    "(",
    ")",
    "](u)",
    "<",
    ">",
    "> ",
    "# ",
    "## ",
    "#",
    "- ",
    "* ",
    "+ ",
    "1. ",
    "2) ",
    "01. ",
    "- [ ] ",
    "- [x] ",
    "- [X] ",
    "- [/] ",
    "[ ]",
    "---",
    "***\n",
    "===",
    "\\",
    "!",
    "[^1]",
    "[^1]: ",
    "> [!note] ",
    "> [!tip]- T\n> ",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "<div>",
    "</div>",
    "<!--",
    "-->",
    "<https://a.b>",
    "#tag",
    "```rust\n",
    "\n```\n",
    "---\n",
    "a: 1\n",
    "^id",
    "-",
    ".",
];

pub(in crate::modules::notes) fn markdownish() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_comes_back_byte_for_byte(text in any::<String>()) {
        assert_round_trip(&text);
    }

    #[test]
    fn any_markdown_comes_back_byte_for_byte(text in markdownish()) {
        assert_round_trip(&text);
    }

    #[test]
    fn any_bytes_of_signs_come_back(text in "[-*_#>`~=\\[\\]()! \t\r\n1.|$:xa]{0,80}") {
        assert_round_trip(&text);
    }

    #[test]
    fn any_blocks_can_be_written(
        kind in prop::sample::select(vec!["paragraph", "h2", "bullet", "ordered", "todo", "quote", "callout", "code", "math", "rule", "footnote", "x"]),
        attrs in prop::collection::btree_map(
            prop::sample::select(vec!["state", "gap", "end", "eol", "number", "marker", "space", "fence", "close", "nest", "hang", "raw", "prefix"]),
            any::<String>(), 0..5),
        spans in prop::collection::vec((any::<String>(), prop::collection::btree_map(prop::sample::select(&mark::ORDER[..]), any::<String>(), 0..4)), 0..6),
    ) {
        let spans = spans.into_iter().map(|(text, marks)| Span {
            text, marks: marks.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() });
        let attrs = attrs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let block = Block { kind: BlockKind::from_name(kind), attrs, spans: spans.collect() };
        let text = render_body(&Body { blocks: vec![block.clone(), block] });
        assert_round_trip(&text);
    }
}

#[test]
fn marks_are_found_where_commonmark_finds_them() {
    for (text, expected) in [
        ("a **b** _c_", &[("a ", ""), ("b", "strong"), (" ", ""), ("c", "emphasis=_")][..]),
        ("***both***", &[("both", "emphasis+strong")]),
        ("**_in_**", &[("in", "emphasis=_+strong")]),
        ("*a **b***", &[("a ", "emphasis"), ("b", "emphasis+strong")]),
        ("snake_case_name 2 * 3 * 4", &[("snake_case_name 2 * 3 * 4", "")]),
        ("~~no~~ ==yes== a == b", &[("no", "strike"), (" ", ""), ("yes", "highlight"), (" a == b", "")]),
        ("`a*b*` ``c`d``", &[("a*b*", "code"), (" ", ""), ("c`d", "code")]),
        ("[t *e*](u \"x\")", &[("t ", "link=u \"x\""), ("e", "emphasis+link=u \"x\"")]),
        ("[![alt](i.png)](u)", &[("alt", "image=i.png+link=u")]),
        ("[[Note#H|shown]] [[N]]", &[("shown", "wikilink=Note#H"), (" ", ""), ("N", "wikilink=N")]),
        ("![[p.png|300]]", &[("300", "embed=p.png")]),
        ("$x_1$ costs $5 and $6", &[("x_1", "math"), (" costs $5 and $6", "")]),
        ("\\*no\\* <https://a.b> <b>", &[("\\*no\\* ", ""), ("https://a.b", "autolink"), (" <b>", "")]),
        ("[a](<x y>) [b][c] ![](e)", &[("a", "link=<x y>"), (" [b][c] ![](e)", "")]),
        ("[a [b](c) d](e)", &[("[a ", ""), ("b", "link=c"), (" d](e)", "")]),
        ("日本**語**です*x*", &[("日本", ""), ("語", "strong"), ("です", ""), ("x", "emphasis")]),
    ] {
        assert_eq!(marks(text), pairs(expected), "{text}");
        assert_round_trip(text);
    }
}

#[test]
fn blocks_are_found() {
    for (text, expected) in [
        ("# T\ntext\nmore\n\n- a\n  - b\n1. c\n", &["h1", "paragraph", "bullet", "bullet", "ordered"][..]),
        ("- [ ] a\n- [x] b\n1. [/] c\n", &["todo", "todo", "todo"]),
        ("> q\n> q\n\n> [!note]- T\n> x\n", &["quote", "callout"]),
        ("```rust\nfn x() {}\n```\n~~~\n```\n~~~\n", &["code", "code"]),
        ("| a | b |\n|:--|--:|\n| 1 | 2 |\nend", &["table", "paragraph"]),
        ("$$\nx\n$$\n\n$$y$$\n", &["math", "math"]),
        ("<div>\nx\n</div>\n\n<!-- a\n\nb -->\n", &["html", "html"]),
        ("T\n===\nU\n---\n\n---\n***\n", &["h1", "h2", "rule", "rule"]),
        ("[^1]: note\n    more\n", &["footnote"]),
        ("text\n    not code\n\n    code\n", &["paragraph", "code"]),
        ("#tag\n####### no\n", &["paragraph"]),
        ("year\n1986. was\n", &["paragraph"]),
        ("", &[]),
        ("\n \n", &["paragraph"]),
    ] {
        assert_eq!(kinds(text), expected, "{text:?}");
        assert_round_trip(text);
    }
}

#[test]
fn usual_syntax_needs_no_attributes() {
    let text = "# T\n\nText with [[L]].\n\n- a\n- b\n\nText.\n\n1. c\n2. d\n\n> q\n\n```\nx\n```\n\n---\n";
    let body = parse_body(text);
    assert_eq!(render_body(&body), text);
    assert!(body.blocks.iter().all(|block| block.attrs.is_empty()), "{body:#?}");
    assert_eq!(only("- [ ] a\n").attrs, [("state".to_owned(), "open".to_owned())].into());
}

#[test]
fn line_ends_cost_one_attribute_in_a_whole_text() {
    let text = "# T\r\n\r\na\r\nb\r\n- c\r\n";
    let body = parse_body(text);
    let stated: Vec<_> = body.blocks.iter().filter_map(|block| block.attr(attr::EOL)).collect();
    assert_eq!(stated, ["crlf"]);
    assert_eq!(body.blocks[1].text(), "a\nb");
}

#[test]
fn toggling_a_todo_changes_its_box_only() {
    let text = "# T\r\n\r\n* [ ] one *two*\r\n\t- [X] three\r\n10) [/] four\r\n- [ ]\r\n";
    let mut body = parse_body(text);
    for block in body.blocks.iter_mut().filter(|block| block.kind == BlockKind::Todo) {
        let state = if block.is_done() == Some(true) { TODO_OPEN } else { TODO_DONE };
        block.attrs.insert(attr::STATE.to_owned(), state.to_owned());
    }
    let expected = "# T\r\n\r\n* [x] one *two*\r\n\t- [ ] three\r\n10) [x] four\r\n- [x]\r\n";
    assert_eq!(render_body(&body), expected);
    assert_eq!(parse_body(expected).blocks.iter().filter(|block| block.is_done() == Some(true)).count(), 3);
}

#[test]
fn a_hostile_state_does_not_leave_its_box() {
    for state in ["", "xx", "]", "\n", "[x] - [x"] {
        let block = Block::new(BlockKind::Todo, "a").with(attr::STATE, state);
        assert_eq!(render_body(&Body { blocks: vec![block] }), "- [ ] a\n");
    }
}

fn edited(text: &str, edit: impl FnOnce(&mut Body)) -> String {
    let mut body = parse_body(text);
    edit(&mut body);
    render_body(&body)
}

fn set_span(body: &mut Body, block: usize, span: usize, text: &str) {
    text.clone_into(&mut body.blocks[block].spans[span].text);
}

#[test]
fn text_typed_into_a_block_leaves_its_neighbours_alone() {
    for (text, span, typed, expected) in [
        ("a **b** c\n", 1, "b d ", "a **b d**  c\n"),
        ("a **b** c\n", 1, " ", "a   c\n"),
        ("x `c` y\n", 1, "c`d", "x ``c`d`` y\n"),
        ("x ``c`` y\n", 1, "`", "x `` ` `` y\n"),
        ("[[N]] y\n", 0, "Nn", "[[N|Nn]] y\n"),
        ("[t](u) y\n", 0, "tt", "[tt](u) y\n"),
        ("## h\n", 0, "h\nk", "## h k\n"),
        ("- a\n", 0, "a\nb", "- a\n  b\n"),
        ("> a\n", 0, "a\n\nb", "> a\n>\n> b\n"),
        ("```\na\n```\n", 0, "a\n```\nb", "````\na\n```\nb\n````\n"),
    ] {
        let found = edited(&format!("before\n\n{text}\nafter\n"), |body| set_span(body, 1, span, typed));
        assert_eq!(found, format!("before\n\n{expected}\nafter\n"));
        assert_eq!(kinds(&found).len(), 3);
    }
}

#[test]
fn marks_that_cross_are_closed_and_opened_again() {
    let marks = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    let span = |text: &str, names: &[&str]| Span { text: text.to_owned(), marks: marks(names) };
    let block = |spans| Body { blocks: vec![Block { spans, ..Block::default() }] };
    let crossed = block(vec![span("a", &["strong"]), span("b", &["strong", "emphasis"]), span("c", &["emphasis"])]);
    assert_eq!(render_body(&crossed), "**a*b***c*\n".replace("b***c*", "b****c*"));
    let in_code = block(vec![span("a", &["code"]), span("b", &["code", "strong"])]);
    assert_eq!(render_body(&in_code), "**`ab`**\n");
}

#[test]
fn a_block_put_behind_an_unclosed_fence_stays_outside() {
    let found = edited("```\na\n", |body| body.blocks.push(Block::new(BlockKind::Paragraph, "b")));
    assert_eq!(found, "```\na\n```\n\nb\n");
}

#[test]
fn an_item_put_between_others_is_counted() {
    let found = edited("1. a\n2. b\n", |body| body.blocks.insert(1, Block::new(BlockKind::Ordered, "x")));
    assert_eq!(found, "1. a\n2. x\n3. b\n");
}

#[test]
fn a_hostile_gap_does_not_grow_the_text() {
    let block = Block::new(BlockKind::Paragraph, "a").with(attr::GAP, "4000000000");
    assert!(render_body(&Body { blocks: vec![block] }).len() < 2_000);
}

#[test]
fn unknown_kinds_attributes_and_marks_are_kept() {
    assert_eq!(BlockKind::from_name("kanban").as_str(), "kanban");
    let mut block = Block::new(BlockKind::from_name("kanban"), "text").with("lane", "2");
    block.spans[0].marks.insert("x-colour".to_owned(), "red".to_owned());
    assert_eq!(render_body(&Body { blocks: vec![block] }), "text\n");
}

#[test]
fn every_kind_has_its_name() {
    for name in [
        "paragraph",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "bullet",
        "ordered",
        "todo",
        "quote",
        "callout",
        "code",
        "table",
        "math",
        "html",
        "rule",
        "footnote",
    ] {
        let kind = BlockKind::from_name(name);
        assert_eq!(kind.as_str(), name);
        assert!(!matches!(kind, BlockKind::Other(_)));
    }
}

const NOTE: &str = "---\ntags: [Sea, trip/2026]\n---\n# The *long* way\n\nSee [[Harbour#Pier|the pier]], ![[map.png]] and \
    [rules](My%20Note.md#two \"t\"), <https://a.b/#c> #boats, a#no `#code` #12 (#日本).\n\n| a | b |\n|---|---|\n| [[X\\|y]] | \\* |\n\n\
    ```\n[[no]] #no\n```\n\n## Next \\# one\n\n<p>Some <b>bold</b></p>\n";

#[test]
fn links_are_read_from_marks_and_tables() {
    let links = links(&parse(NOTE).body);
    let said: Vec<String> = links
        .iter()
        .map(|link| {
            let anchor = link.anchor.as_deref().unwrap_or("-");
            format!("{} {} {anchor} {}", link.kind.as_str(), link.target, link.alias.as_deref().unwrap_or("-"))
        })
        .collect();
    assert_eq!(
        said,
        [
            "wikilink Harbour Pier the pier",
            "embed map.png - -",
            "link My Note.md two rules",
            "link https://a.b/#c - -",
            "wikilink X - y"
        ]
    );
}

#[test]
fn a_link_typed_as_text_counts_like_a_mark() {
    let typed = Body { blocks: vec![Block::new(BlockKind::Paragraph, "see [[Harbour]]")] };
    assert_eq!(links(&typed), links(&parse_body("see [[Harbour]]\n")));
    assert_eq!(links(&typed).len(), 1);
}

#[test]
fn title_headings_tags_and_plain_text_are_read() {
    let parsed = parse(NOTE);
    assert_eq!(title(&parsed, "file"), "The long way");
    assert_eq!(title(&parse("## only\n"), "file"), "file");
    assert_eq!(title(&parse("---\ntitle: ' T '\n---\n# H\n"), "file"), "T");
    assert_eq!(title(&parse("text\n## only\n"), ""), "only");
    assert_eq!(title(&parse("\n- first line\n"), " "), "first line");
    assert_eq!(headings(&parsed.body)[1], Heading { level: 2, text: "Next # one".to_owned() });
    assert_eq!(tags(&parsed), ["boats", "Sea", "trip/2026", "日本"]);
    let plain = plain_text(&parsed.body);
    assert!(plain.contains("See the pier, map.png and rules, https://a.b/#c #boats"), "{plain}");
    assert!(plain.contains("a b\nX\\ y *\n") || plain.contains("a b\ny *\n"), "{plain}");
    assert!(plain.contains("Some  bold"), "{plain}");
}

/// Work done on a text, in steps of the scanners.
fn steps(text: &str) -> usize {
    STEPS.with(|steps| steps.set(0));
    let parsed = parse(text);
    let _ = (links(&parsed.body), tags(&parsed), plain_text(&parsed.body));
    STEPS.with(std::cell::Cell::get)
}

#[test]
fn work_is_linear_in_hostile_text() {
    for unit in [
        "*[",
        "[",
        "[[",
        "![[a",
        "*a ",
        "*a _b ",
        "a** ",
        "_a*",
        "***",
        "**x",
        "`a``b```",
        "` ",
        "$a ",
        "$$a\n",
        "<a ",
        "<!--",
        "[a](b",
        "[a](",
        "[a](<b",
        "[a](b \"",
        "[a](b (",
        "![a](![",
        "[a](b) ![",
        "\\$",
        "$\\$",
        "> ",
        "> > a\n",
        "- ",
        "- a\n ",
        " - a\n",
        "1. a\n",
        "a\n    b\n",
        "a\n<b>\n",
        "```\n",
        "~~~a\n",
        "| a\n",
        "|a|\n|-|\n",
        "[^a]: \n",
        "a\n===\n",
        "\n",
        " \n",
        "\r\n",
        "# ",
        "#a",
        "a|",
        "==a",
        "~~a~~",
        "*a*",
        "**a*",
        "a*b_c",
        "<a@b",
        "%%",
        "---\n",
        "a: 1\n",
        "\t",
    ] {
        let work = |count: usize| steps(&unit.repeat(count));
        let (small, large) = (work(1_000), work(4_000));
        assert!(large <= small * 5 + 2_000, "{unit:?}: {small} steps, four times the text: {large}");
    }
}

fn markdown_files(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_sample_vault_comes_back_and_uses_every_kind_of_block() {
    let mut files = Vec::new();
    markdown_files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/sample"), &mut files);
    assert!(files.len() >= 40, "{} files", files.len());
    let mut kinds = std::collections::BTreeSet::new();
    let (mut blocks, mut raw) = (0, 0);
    for (path, text) in &files {
        let parsed = parse(text);
        assert_eq!(&render(&parsed), text, "{path}");
        blocks += parsed.body.blocks.len();
        raw += parsed.body.blocks.iter().filter(|block| block.attr(attr::RAW).is_some()).count();
        kinds.extend(parsed.body.blocks.iter().map(|block| block.kind.as_str().to_owned()));
    }
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>().join(" "),
        "bullet callout code footnote h1 h2 html math ordered paragraph quote rule table todo"
    );
    assert!(raw * 100 < blocks * 2, "{raw} of {blocks} blocks are verbatim");
}

#[test]
fn a_text_of_very_many_blocks_and_marks_stays_bounded() {
    for unit in ["- a\n", "*a*\n\n", "*a* **b** "] {
        let text = unit.repeat(30_000);
        let body = parse_body(&text);
        let marks: usize = body.blocks.iter().flat_map(|block| &block.spans).map(|span| span.marks.len()).sum();
        assert!(body.blocks.len() <= super::build::BLOCKS_MAX && marks <= super::build::MARKS_MAX + 250);
        assert_eq!(render_body(&body), text);
    }
}

/// Headings, code blocks, todos, inline links and strong text as another parser sees them.
fn second_opinion(text: &str) -> Vec<String> {
    use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH
        | Options::ENABLE_WIKILINKS;
    let said = |event| match event {
        Event::Start(Tag::Heading { level, .. }) => Some(format!("heading {}", level as u8)),
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => Some(format!("code {}", info.trim())),
        Event::TaskListMarker(done) => Some(format!("todo {done}")),
        Event::Start(Tag::Strong) => Some("strong".to_owned()),
        Event::Start(Tag::Strikethrough) => Some("strike".to_owned()),
        Event::Start(Tag::Emphasis) => Some("emphasis".to_owned()),
        _ => None,
    };
    let mut all: Vec<String> = Parser::new_ext(text, options).filter_map(said).collect();
    all.sort();
    all
}

fn own_opinion(body: &Body) -> Vec<String> {
    let mut all = Vec::new();
    for block in &body.blocks {
        match block.kind {
            BlockKind::Heading(level) => all.push(format!("heading {level}")),
            BlockKind::Code if block.attr(attr::FENCE) != Some("indented") => {
                all.push(format!("code {}", block.attr(attr::LANG).unwrap_or("").trim()));
            }
            BlockKind::Todo if matches!(block.attr(attr::STATE), Some(TODO_OPEN | TODO_DONE)) => {
                all.push(format!("todo {}", block.is_done() == Some(true)));
            }
            _ => {}
        }
        let source = write::inline_source(block);
        if block.kind.is_prose() {
            let named = |found: &inline::Found| matches!(found.name, mark::STRONG | mark::STRIKE | mark::EMPHASIS);
            all.extend(inline::scan(&source).iter().filter(|found| named(found)).map(|found| found.name.to_owned()));
        }
    }
    all.sort();
    all
}

#[test]
fn the_sample_is_understood_as_another_parser_understands_it() {
    let mut files = Vec::new();
    markdown_files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/sample"), &mut files);
    let mut agreed = 0;
    for (path, text) in &files {
        let (_, body) = FrontMatter::split(text);
        // The other parser takes a byte order mark for text.
        let second = second_opinion(body.trim_start_matches('\u{feff}'));
        let own = own_opinion(&parse_body(body));
        assert_eq!(own, second, "{path}");
        agreed += own.len();
    }
    assert!(agreed > 200, "{agreed} things compared");
}
