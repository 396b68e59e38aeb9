//! Where the engine's tasks run: on the runtime, long ones on threads that may block. In a simulation all run on the
//! one thread that there is, each as its device, and end with it.

use std::future::Future;

use tokio::task::{JoinError, JoinHandle};

/// Begins a task.
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[cfg(feature = "simulation")]
    {
        simulated::spawn(future)
    }
    #[cfg(not(feature = "simulation"))]
    {
        tokio::spawn(future)
    }
}

/// Does what may take long or wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_on() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

#[cfg(feature = "simulation")]
pub(super) mod simulated {
    //! Tasks of simulated devices.

    use std::cell::RefCell;
    use std::future::Future;

    use tokio::task::{AbortHandle, JoinHandle};

    use crate::simulation::{Node, in_node, node};

    thread_local! {
        static TASKS: RefCell<Vec<(Node, AbortHandle)>> = const { RefCell::new(Vec::new()) };
    }

    /// Begins a task of the node whose turn it is.
    pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = tokio::spawn(in_node(node(), future));
        remember(task.abort_handle());
        task
    }

    pub(in crate::engine) fn remember(task: AbortHandle) {
        TASKS.with_borrow_mut(|tasks| {
            tasks.retain(|(_, task)| !task.is_finished());
            tasks.push((node(), task));
        });
    }

    /// Ends all tasks of a node, wherever they are, as a crash does.
    pub fn abort_tasks(node: Node) {
        TASKS.with_borrow_mut(|tasks| {
            let mine = |(owner, _): &mut (Node, AbortHandle)| *owner == node;
            tasks.extract_if(.., mine).for_each(|(_, task)| task.abort());
        });
    }
}
