//! Two ends of a connection inside one process, bounded like a socket.

use tokio::sync::mpsc;

use super::{FrameReceiver, FrameSender, TransportError};

/// Frames that fit between the two ends before sending waits.
const FRAMES_MAX: usize = 4;

/// Sending half of one end.
#[derive(Debug)]
pub struct MemorySender(Option<mpsc::Sender<Vec<u8>>>);

/// Receiving half of one end.
#[derive(Debug)]
pub struct MemoryReceiver(mpsc::Receiver<Vec<u8>>);

/// A connection: what one end sends, the other receives.
#[must_use]
pub fn memory_pair() -> ((MemorySender, MemoryReceiver), (MemorySender, MemoryReceiver)) {
    let (near_out, far_in) = mpsc::channel(FRAMES_MAX);
    let (far_out, near_in) = mpsc::channel(FRAMES_MAX);
    ((MemorySender(Some(near_out)), MemoryReceiver(near_in)), (MemorySender(Some(far_out)), MemoryReceiver(far_in)))
}

impl FrameSender for MemorySender {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        let channel = self.0.as_ref().ok_or(TransportError::Lost(None))?;
        channel.send(frame).await.map_err(|_| TransportError::Lost(None))
    }

    async fn close(&mut self) {
        self.0 = None;
    }
}

impl FrameReceiver for MemoryReceiver {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        Ok(self.0.recv().await)
    }
}
