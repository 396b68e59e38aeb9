//! The seams of the whole-system simulation: whose turn it is, what time it is there, where random bytes come from and
//! whether a commit still happens. Compiled with the feature `simulation` alone, and asked only after [`enter`].
//!
//! A *node* is one device; everything that runs for it is polled inside [`in_node`], so that clocks may differ and
//! crashes hit one device alone.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// One device of a simulation.
pub type Node = u32;

/// What the simulated world decides.
pub trait Host {
    /// The time of day at a node (ms UTC).
    fn now_ms(&self, node: Node) -> i64;
    /// Bytes that the seed determines.
    fn fill(&self, bytes: &mut [u8]);
    /// Whether a commit of this node takes place: a device that is dead writes nothing any more.
    fn may_commit(&self, node: Node) -> bool;
}

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
    static NODE: Cell<Node> = const { Cell::new(0) };
}

/// From here on this thread is in the world of `host`.
pub fn enter(host: Rc<dyn Host>) {
    HOST.with(|slot| *slot.borrow_mut() = Some(host));
}

/// The world is over.
pub fn leave() {
    HOST.with(|slot| *slot.borrow_mut() = None);
}

/// Whether this thread simulates.
#[must_use]
pub fn is_on() -> bool {
    HOST.with(|slot| slot.borrow().is_some())
}

fn host() -> Option<Rc<dyn Host>> {
    HOST.with(|slot| slot.borrow().clone())
}

/// Whose turn it is.
#[must_use]
pub fn node() -> Node {
    NODE.get()
}

/// Does something as a node.
pub fn as_node<T>(node: Node, act: impl FnOnce() -> T) -> T {
    let before = NODE.replace(node);
    let value = act();
    NODE.set(before);
    value
}

/// A future that runs as a node.
pub fn in_node<F: Future>(node: Node, future: F) -> InNode<F> {
    InNode { node, future: Box::pin(future) }
}

/// See [`in_node`].
pub struct InNode<F> {
    node: Node,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InNode<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        as_node(self.node, || self.future.as_mut().poll(cx))
    }
}

/// The time of day, if it is simulated.
#[cfg(feature = "io")]
pub(crate) fn now_ms() -> Option<i64> {
    host().map(|host| host.now_ms(node()))
}

/// Fills `bytes`, if randomness is simulated.
#[cfg(feature = "io")]
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    host().inspect(|host| host.fill(bytes)).is_some()
}

/// Whether the device that runs now is dead, and writes no more.
#[cfg(feature = "io")]
pub(crate) fn refuses_commit() -> bool {
    host().is_some_and(|host| !host.may_commit(node()))
}
