//! From blocks to Markdown text.

use super::Body;

pub(super) fn write_body(body: &Body, out: &mut String) {
    for block in &body.blocks {
        out.push_str(&block.text());
    }
}
