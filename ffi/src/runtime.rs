//! The one runtime of an engine, and the two ways of running work on it.

use std::future::Future;

use lifeos_client_core::client::ClientError;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;

use crate::error::LifeOsError;

/// Threads of the runtime: one connection and its timers need no more.
const WORKERS: usize = 2;

/// A multi-thread runtime that may be dropped anywhere: dropping it never waits.
pub(crate) struct Engine {
    runtime: Option<Runtime>,
}

impl Engine {
    /// A new runtime.
    pub(crate) fn start() -> Result<Self, LifeOsError> {
        let built = Builder::new_multi_thread().worker_threads(WORKERS).thread_name("lifeos").enable_all().build();
        let runtime = built.map_err(|error| LifeOsError::internal(format!("the system gives no threads: {error}")))?;
        Ok(Self { runtime: Some(runtime) })
    }

    fn runtime(&self) -> Result<&Runtime, LifeOsError> {
        self.runtime.as_ref().ok_or_else(LifeOsError::stopped)
    }

    /// Runs network work; it goes on when the host stops waiting for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> Result<T, LifeOsError> {
        Ok(self.runtime()?.spawn(work).await.map_err(joined)??)
    }

    /// Runs work that waits for the disk.
    pub(crate) async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, LifeOsError> {
        Ok(self.runtime()?.spawn_blocking(work).await.map_err(joined)??)
    }

    /// Lets `work` start tasks of its own on the runtime.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> Result<T, LifeOsError> {
        let _guard = self.runtime()?.enter();
        Ok(work())
    }
}

/// A panic stays on this side: the host gets an error it can catch.
fn joined(error: JoinError) -> LifeOsError {
    if error.is_panic() {
        LifeOsError::internal("a bug ended this call; please report it")
    } else {
        LifeOsError::stopped()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_the_engine_goes_on() {
        let engine = Engine::start().unwrap();
        let host = Builder::new_current_thread().build().unwrap();
        let panicked = host.block_on(engine.block(|| -> Result<(), ClientError> { panic!("a bug") }));
        assert!(matches!(panicked, Err(LifeOsError::Internal { .. })));
        assert_eq!(host.block_on(engine.run(async { Ok(7) })), Ok(7));
    }
}
