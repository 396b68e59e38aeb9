//! ITEMS built from rows as they are read: the envelopes are copied once, into the frame that goes out.

use super::kind;
use crate::ids::Roll;
use crate::wire::Put;

/// Bytes before the first item: type, flags, request, session, next, roll, more, count.
const HEADER_BYTES: usize = 39;
/// Bytes beside an envelope's own: position and length.
const ITEM_OVERHEAD_BYTES: usize = 12;

/// The items of an ITEMS frame, already in its layout; [`Self::into_frame`] fills in what stands before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageBuilder {
    bytes: Vec<u8>,
    count: u32,
}

/// A place in a [`PageBuilder`] that it can be cut back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageMark {
    bytes: usize,
    count: u32,
}

impl PageBuilder {
    /// An empty page with room for `bytes` of envelopes.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        let mut room = Vec::with_capacity(HEADER_BYTES + bytes + bytes / 16);
        room.resize(HEADER_BYTES, 0);
        Self { bytes: room, count: 0 }
    }

    /// Appends an envelope at a position of the log.
    pub fn push(&mut self, pos: u64, envelope: &[u8]) {
        self.bytes.put_u64(pos);
        self.bytes.put_bytes(envelope);
        self.count = self.count.saturating_add(1);
    }

    /// Number of items.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the envelopes.
    #[must_use]
    pub fn envelope_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES - ITEM_OVERHEAD_BYTES * self.count()
    }

    /// Where the page ends now.
    #[must_use]
    pub fn mark(&self) -> PageMark {
        PageMark { bytes: self.bytes.len(), count: self.count }
    }

    /// Cuts off everything after `mark`, which was taken from this page.
    pub fn cut_back(&mut self, mark: PageMark) {
        self.bytes.truncate(mark.bytes.max(HEADER_BYTES));
        self.count = self.count.min(mark.count);
    }

    /// The finished ITEMS frame, without copying the items again.
    #[must_use]
    pub fn into_frame(mut self, req_id: u32, session: u32, next: u64, roll: Roll, more: bool) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.put(&[kind::ITEMS, 0]);
        header.put_u32(req_id);
        header.put_u32(session);
        header.put_u64(next);
        header.put(&roll.0);
        header.put_bool(more);
        header.put_u32(self.count);
        if let Some(room) = self.bytes.get_mut(..HEADER_BYTES) {
            room.copy_from_slice(&header);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Item};

    #[test]
    fn a_built_page_is_the_encoded_frame_also_after_it_was_cut_back() {
        let items: Vec<Item> =
            (1..4).map(|pos| Item { pos, envelope: vec![u8::try_from(pos).unwrap(); 300 + pos as usize] }).collect();
        let mut page = PageBuilder::with_room(64);
        let mut marks = vec![page.mark()];
        for item in &items {
            page.push(item.pos, &item.envelope);
            marks.push(page.mark());
        }
        assert_eq!((page.count(), page.envelope_bytes()), (3, 906));
        for (count, mark) in marks.into_iter().enumerate().rev() {
            page.cut_back(mark);
            let frame =
                Frame::Items { session: 5, items: items[..count].to_vec(), next: 9, roll: Roll([3; 16]), more: true };
            assert_eq!(page.clone().into_frame(7, 5, 9, Roll([3; 16]), true), frame.encode(7));
        }
    }
}
