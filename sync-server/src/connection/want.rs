//! WANT: ranges of streams, and single objects by id; WANT_REST: one object from a byte on; OFFER: which objects are not
//! here. The answer to a WANT is ITEMS frames that move no cursor: `next` and `roll` are zero, and so is the position of an
//! object, which has none.

use std::sync::Arc;

use bytes::Bytes;
use lifeos_sync_protocol::frame::{Frame, Want};
use lifeos_sync_protocol::ids::{EnvelopeId, Roll};
use lifeos_sync_protocol::limits::OBJECT_PART_BYTES_MAX;
use tokio::time::Instant;

use super::{Connection, Refusal};
use crate::space::Space;

impl Connection {
    /// Answers in pages of which each waits for room; what is not here is left out.
    pub(super) async fn want(
        &mut self,
        request: u32,
        session: u32,
        ranges: Vec<Want>,
        objects: Vec<EnvelopeId>,
    ) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        for range in ranges {
            self.want_range(request, session, &space, range).await?;
        }
        self.want_objects(request, session, &space, objects).await?;
        self.reply(request, &Frame::Items { session, items: Vec::new(), next: 0, roll: Roll::ZERO, more: false });
        Ok(())
    }

    /// Answers what lies beyond the first bytes of an object, part by part, each of which waits for room.
    pub(super) async fn want_rest(
        &mut self,
        request: u32,
        session: u32,
        object: EnvelopeId,
        from: u32,
    ) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        let bytes = self.relay.store.readers().object(space.no, object).await?.unwrap_or_default();
        let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut from = from.min(total);
        // What is skipped was read all the same.
        self.charge(session, usize::try_from(from).unwrap_or(usize::MAX)).await?;
        loop {
            self.outgoing.room().await;
            let at = usize::try_from(from).unwrap_or(usize::MAX);
            let end = bytes.len().min(at.saturating_add(OBJECT_PART_BYTES_MAX));
            let (part, more) = (bytes.get(at..end).unwrap_or_default().to_vec(), end < bytes.len());
            let frame = Frame::Part { session, total, from, more, bytes: part };
            self.page_out(session, frame.encode(request).into()).await?;
            if !more {
                break;
            }
            from = u32::try_from(end).unwrap_or(u32::MAX);
        }
        self.relay.metrics.objects_sent_total.add(u64::from(total > 0));
        Ok(())
    }

    /// Answers which of these objects are not here, so that the others need not be sent.
    pub(super) async fn offer(&mut self, request: u32, session: u32, objects: Vec<EnvelopeId>) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        let objects = self.relay.store.readers().lacking(space.no, objects).await?;
        self.reply(request, &Frame::Lack { session, objects });
        Ok(())
    }

    async fn want_range(&mut self, request: u32, session: u32, space: &Arc<Space>, range: Want) -> Result<(), Refusal> {
        let Want { stream, mut from, to } = range;
        let bounds = self.bounds(u32::MAX, u32::MAX);
        while from <= to {
            self.outgoing.room().await;
            let (items, next) = self.relay.store.readers().range(space.no, stream, from, to, bounds).await?;
            if items.is_empty() || next <= from {
                break;
            }
            let frame = Frame::Items { session, items, next: 0, roll: Roll::ZERO, more: true };
            self.page_out(session, frame.encode(request).into()).await?;
            from = next;
        }
        Ok(())
    }

    async fn want_objects(
        &mut self,
        request: u32,
        session: u32,
        space: &Arc<Space>,
        ids: Vec<EnvelopeId>,
    ) -> Result<(), Refusal> {
        let bounds = self.bounds(u32::MAX, u32::MAX);
        let ids: Arc<[EnvelopeId]> = ids.into();
        let mut from = 0;
        while from < ids.len() {
            self.outgoing.room().await;
            let (page, next) = self.relay.store.readers().objects(space.no, Arc::clone(&ids), from, bounds).await?;
            from = next.max(from + 1);
            if page.count() > 0 {
                self.relay.metrics.objects_sent_total.add(page.count() as u64);
                let frame = page.into_frame(request, session, 0, Roll::ZERO, true);
                self.page_out(session, frame.into()).await?;
            }
        }
        Ok(())
    }

    /// Sends a page, and lets a device wait that asks for too much.
    async fn page_out(&mut self, session: u32, frame: Bytes) -> Result<(), Refusal> {
        let bytes = frame.len();
        self.outgoing.reply(frame);
        self.charge(session, bytes).await
    }

    /// Lets a device wait that has had so much read for it.
    async fn charge(&mut self, session: u32, bytes: usize) -> Result<(), Refusal> {
        let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        let device = self.session(session)?.device;
        let wait = self.relay.pulls.take(device, kib, Instant::now());
        if !wait.is_zero() {
            self.relay.metrics.pulls_slowed_total.increment();
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}
