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

fn markdownish() -> impl Strategy<Value = String> {
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
