//! A body laid out flat: one unit per character or block marker, with what each marker holds and marks as runs.

use std::collections::BTreeMap;
use std::ops::Range;

use automerge::iter::{Span as TextSpan, Spans};
use automerge::marks::MarkSet;
use automerge::{AutoCommit, ChangeHash, ObjId, ReadDoc, ScalarValue, hydrate};

use crate::document::DocumentError;
use crate::modules::notes::markdown::{Block, BlockKind, Body, Span, TODO_OPEN, attr};

/// The unit that stands for a block marker; characters are their own number, which is smaller.
pub(crate) const BLOCK: u32 = 0x11_0000;

/// Key of a marker's kind; absent for a paragraph, the most frequent kind.
pub(super) const TYPE: &str = "type";

/// What one block marker holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Marker {
    /// `type` and attributes.
    pub(crate) attrs: BTreeMap<String, String>,
}

impl Marker {
    pub(crate) fn kind(&self) -> BlockKind {
        self.attrs.get(TYPE).map_or(BlockKind::Paragraph, |name| BlockKind::from_name(name))
    }

    fn from_block(block: &Block) -> Self {
        let mut attrs = block.attrs.clone();
        match block.kind {
            BlockKind::Paragraph => attrs.remove(TYPE),
            _ => attrs.insert(TYPE.to_owned(), block.kind.as_str().to_owned()),
        };
        Self { attrs }.with_state()
    }

    /// A todo always has a state: two devices that tick it then write one register.
    fn with_state(mut self) -> Self {
        if self.kind() == BlockKind::Todo && !self.attrs.contains_key(attr::STATE) {
            self.attrs.insert(attr::STATE.to_owned(), TODO_OPEN.to_owned());
        }
        self
    }

    fn from_map(map: &hydrate::Map) -> Self {
        let attrs = map.iter().filter_map(|(key, value)| match &value.value {
            hydrate::Value::Scalar(value) => Some((key.clone(), scalar_text(value)?)),
            _ => None,
        });
        Self { attrs: attrs.collect() }.with_state()
    }

    fn to_block(&self) -> Block {
        let mut attrs = self.attrs.clone();
        attrs.remove(TYPE);
        Block { kind: self.kind(), attrs, spans: Vec::new() }
    }
}

/// Marks of a run of characters.
pub(crate) type Marks = BTreeMap<String, String>;

/// A body laid out flat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Flat {
    /// Characters and [`BLOCK`]s, in order.
    pub(crate) units: Vec<u32>,
    /// One for each [`BLOCK`].
    pub(crate) markers: Vec<Marker>,
    /// Runs that carry marks, ascending, not overlapping.
    pub(crate) marks: Vec<(Range<usize>, Marks)>,
}

impl Flat {
    /// Lays out a body.
    pub(crate) fn from_body(body: &Body) -> Self {
        let mut flat = Self::default();
        for block in &body.blocks {
            flat.push_marker(Marker::from_block(block));
            block.spans.iter().for_each(|span| flat.push_text(&span.text, &span.marks));
        }
        flat
    }

    /// Reads the text object, now or at `heads`.
    pub(crate) fn read(doc: &AutoCommit, text: &ObjId, heads: Option<&[ChangeHash]>) -> Result<Self, DocumentError> {
        let mut flat = Self::default();
        for span in spans(doc, text, heads)? {
            match span {
                TextSpan::Block(map) => flat.push_marker(Marker::from_map(&map)),
                TextSpan::Text { text, marks } => {
                    flat.push_text(&text, &marks.as_deref().map_or_else(Marks::new, mark_texts))
                }
            }
        }
        Ok(flat)
    }

    pub(crate) fn push_marker(&mut self, marker: Marker) {
        self.units.push(BLOCK);
        self.markers.push(marker);
    }

    fn push_text(&mut self, text: &str, marks: &Marks) {
        let start = self.units.len();
        self.units.extend(text.chars().map(u32::from));
        self.push_marks(start..self.units.len(), marks);
    }

    /// Adds a run, joined with the one before when it continues it.
    pub(crate) fn push_marks(&mut self, range: Range<usize>, marks: &Marks) {
        if marks.is_empty() || range.is_empty() {
            return;
        }
        match self.marks.last_mut() {
            Some((last, same)) if last.end == range.start && same == marks => last.end = range.end,
            _ => self.marks.push((range, marks.clone())),
        }
    }

    /// The body; text before the first marker is a paragraph.
    pub(crate) fn to_body(&self) -> Body {
        let mut blocks: Vec<Block> = Vec::with_capacity(self.markers.len());
        let mut markers = self.markers.iter();
        let mut marks = self.marks.iter().peekable();
        let mut at = 0;
        while at < self.units.len() {
            if self.units[at] == BLOCK {
                blocks.push(markers.next().map(Marker::to_block).unwrap_or_default());
                at += 1;
                continue;
            }
            while marks.next_if(|(range, _)| range.end <= at).is_some() {}
            let (end, names) = match marks.peek() {
                Some((range, names)) if range.start <= at => (range.end, names.clone()),
                Some((range, _)) => (range.start, Marks::new()),
                None => (self.units.len(), Marks::new()),
            };
            let end = (at..end).find(|place| self.units[*place] == BLOCK).unwrap_or(end);
            let text = self.text(at..end);
            if blocks.is_empty() {
                blocks.push(Block::default());
            }
            if let Some(block) = blocks.last_mut() {
                block.spans.push(Span { text, marks: names });
            }
            at = end;
        }
        blocks.iter_mut().for_each(Block::normalize);
        Body { blocks }
    }

    /// The characters of a range; markers are left out.
    pub(crate) fn text(&self, range: Range<usize>) -> String {
        self.units[range].iter().filter_map(|unit| char::from_u32(*unit)).collect()
    }

    /// Bytes of UTF-8, markers not counted.
    pub(crate) fn text_bytes(&self) -> usize {
        self.units.iter().filter_map(|unit| char::from_u32(*unit)).map(char::len_utf8).sum()
    }

    /// Markers with their places.
    pub(crate) fn markers(&self) -> impl Iterator<Item = (usize, &Marker)> {
        let places = self.units.iter().enumerate().filter(|(_, unit)| **unit == BLOCK).map(|(place, _)| place);
        places.zip(&self.markers)
    }
}

fn spans<'a>(doc: &'a AutoCommit, text: &ObjId, heads: Option<&[ChangeHash]>) -> Result<Spans<'a>, DocumentError> {
    Ok(match heads {
        Some(heads) => doc.spans_at(text, heads)?,
        None => doc.spans(text)?,
    })
}

/// Reads the text object as a body: what [`Flat::read`] and [`Flat::to_body`] give together, without taking every
/// character apart.
pub(super) fn read_body(doc: &AutoCommit, text: &ObjId, heads: Option<&[ChangeHash]>) -> Result<Body, DocumentError> {
    let mut blocks: Vec<Block> = Vec::new();
    for span in spans(doc, text, heads)? {
        match span {
            TextSpan::Block(map) => blocks.push(Marker::from_map(&map).to_block()),
            TextSpan::Text { text, .. } if text.is_empty() => {}
            TextSpan::Text { text, marks } => {
                if blocks.is_empty() {
                    blocks.push(Block::default());
                }
                if let Some(block) = blocks.last_mut() {
                    let marks = marks.as_deref().map_or_else(Marks::new, mark_texts);
                    block.spans.push(Span { text, marks });
                }
            }
        }
    }
    blocks.iter_mut().for_each(Block::normalize);
    Ok(Body { blocks })
}

fn mark_texts(set: &MarkSet) -> Marks {
    set.iter().filter_map(|(name, value)| Some((name.to_owned(), scalar_text(value)?))).collect()
}

/// Attributes and marks are text; what another version may write as a scalar is read as its text.
fn scalar_text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Str(text) => Some(text.to_string()),
        ScalarValue::Boolean(true) => Some(String::new()),
        ScalarValue::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
