//! From slices of source to blocks, each checked by writing it again.

use super::{Block, BlockKind, Body, attr};

pub(super) fn build_body(text: &str) -> Body {
    if text.is_empty() {
        return Body::default();
    }
    Body { blocks: vec![Block::new(BlockKind::Paragraph, text).with(attr::RAW, "1")] }
}
