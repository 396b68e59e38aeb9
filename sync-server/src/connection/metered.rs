//! A transport that stops reading when an unauthenticated peer has sent too much.
//!
//! The websocket layer knows one frame limit for a whole connection, that of an authenticated peer. Before
//! AUTH this budget is the limit: it is refilled by every legal frame and lifted by AUTH.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may still be read; `usize::MAX` is no limit.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    left: AtomicUsize,
    full: usize,
}

impl ReadBudget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes), full: bytes })
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
        if this.budget.spend(buf.filled().len() - before) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many bytes before authentication")))
        }
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
        let budget = ReadBudget::new(8);
        let mut stream = Metered::new(&[0_u8; 64][..], Arc::clone(&budget));
        let mut eight = [0; 8];
        stream.read_exact(&mut eight).await.unwrap();
        assert!(stream.read_exact(&mut eight).await.is_err());
        budget.refill();
        stream.read_exact(&mut eight).await.unwrap();
        budget.lift();
        stream.read_exact(&mut [0; 40]).await.unwrap();
    }
}
