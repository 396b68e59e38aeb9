//! Work that may take long or wait for the disk, on threads that may block; inline in a simulation, which has one thread.

use tokio::task::JoinError;

/// Does it, and answers when it is done.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_on() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
