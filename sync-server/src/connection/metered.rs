//! A transport that stops reading when a peer, an address or everybody together has sent too much.
//!
//! What is read counts against the budgets of the address and of the relay until the frame is worked on, so that
//! many half-sent frames cannot take all memory. The websocket layer knows one frame limit for a whole connection, that of an authenticated peer. Before
//! AUTH this budget is the limit: it is refilled by every legal frame and lifted by AUTH.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The text of the error when memory for reading is spent.
pub(super) const READING_FULL: &str = "no memory left for reading";

/// Bytes that several connections may hold together.
#[derive(Debug)]
pub(crate) struct SharedBytes {
    held: AtomicUsize,
    max: usize,
}

impl SharedBytes {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max })
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.max);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one connection may read.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    /// Bytes before AUTH that may still be read; `usize::MAX` is no limit.
    left: AtomicUsize,
    full: usize,
    /// Bytes read and not released, booked with both of `shared`.
    held: AtomicUsize,
    shared: [Arc<SharedBytes>; 2],
}

impl Drop for ReadBudget {
    fn drop(&mut self) {
        self.release();
    }
}

impl ReadBudget {
    /// `bytes` before authentication; `shared` are those of the address and of the relay.
    pub(crate) fn new(bytes: usize, shared: [Arc<SharedBytes>; 2]) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes), full: bytes, held: AtomicUsize::new(0), shared })
    }

    /// What was read is worked on, and counted elsewhere if it is large.
    pub(crate) fn release(&self) {
        let held = self.held.swap(0, Ordering::Relaxed);
        self.shared.iter().for_each(|shared| shared.give_back(held));
    }

    /// Releases a part only: a ping may come between the pieces of a message that is still held. Without this, the pings
    /// of connections that only listen would use up the budget for ever.
    pub(crate) fn give_back(&self, bytes: usize) {
        let mut given = 0;
        let less = |held: usize| {
            given = bytes.min(held);
            Some(held - given)
        };
        if self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            self.shared.iter().for_each(|shared| shared.give_back(given));
        }
    }

    fn hold(&self, bytes: usize) -> bool {
        let [address, relay] = &self.shared;
        if !address.take(bytes) {
            return false;
        }
        if !relay.take(bytes) {
            address.give_back(bytes);
            return false;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// A legal frame arrived: the next one may be as large again.
    pub(crate) fn refill(&self) {
        if self.left.load(Ordering::Relaxed) != usize::MAX {
            self.left.store(self.full, Ordering::Relaxed);
        }
    }

    /// The peer is authenticated: the frame limit takes over.
    pub(crate) fn lift(&self) {
        self.left.store(usize::MAX, Ordering::Relaxed);
    }

    fn spend(&self, bytes: usize) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left == usize::MAX {
            return true;
        }
        self.left.store(left.saturating_sub(bytes), Ordering::Relaxed);
        bytes <= left
    }
}

/// A byte stream whose reads are paid from a [`ReadBudget`].
pub(crate) struct Metered<T> {
    inner: T,
    budget: Arc<ReadBudget>,
}

impl<T> Metered<T> {
    pub(crate) const fn new(inner: T, budget: Arc<ReadBudget>) -> Self {
        Self { inner, budget }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        let refused = if !this.budget.spend(bytes) {
            "too many bytes before authentication"
        } else if !this.budget.hold(bytes) {
            READING_FULL
        } else {
            return Poll::Ready(Ok(()));
        };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, refused)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_sends_more_than_its_budget_is_an_error_until_the_budget_is_lifted() {
        let plenty = SharedBytes::new(1024);
        let budget = ReadBudget::new(8, [Arc::clone(&plenty), plenty]);
        let mut stream = Metered::new(&[0_u8; 64][..], Arc::clone(&budget));
        let mut eight = [0; 8];
        stream.read_exact(&mut eight).await.unwrap();
        assert!(stream.read_exact(&mut eight).await.is_err());
        budget.refill();
        stream.read_exact(&mut eight).await.unwrap();
        budget.lift();
        stream.read_exact(&mut [0; 40]).await.unwrap();
    }

    #[tokio::test]
    async fn half_sent_frames_share_one_budget_and_give_it_back() {
        let (address, relay) = (SharedBytes::new(8), SharedBytes::new(12));
        let budget = |address: &Arc<SharedBytes>| ReadBudget::new(64, [Arc::clone(address), Arc::clone(&relay)]);
        let (first, second, elsewhere) = (budget(&address), budget(&address), budget(&SharedBytes::new(8)));
        let read = async |budget: &Arc<ReadBudget>, bytes: usize| {
            let mut stream = Metered::new(&[0_u8; 64][..], Arc::clone(budget));
            stream.read_exact(&mut vec![0; bytes]).await.is_ok()
        };
        assert!(read(&first, 8).await);
        assert!(!read(&second, 1).await, "the address has no more");
        assert!(read(&elsewhere, 4).await);
        assert!(!read(&elsewhere, 1).await, "the relay has no more");
        first.release();
        assert!(read(&second, 8).await);
        drop((first, second));
        assert!(read(&elsewhere, 4).await);
        drop(elsewhere);
        assert_eq!((address.held.load(Ordering::Relaxed), relay.held.load(Ordering::Relaxed)), (0, 0));
    }
}
