//! Connections of a simulated network, in place of TCP: the websocket above them is the real one.

use std::cell::RefCell;

use tokio::io::DuplexStream;

use crate::simulation::{self, Node};

/// Makes a connection from a node to an address; `None`: nobody answers there.
pub type Dial = Box<dyn Fn(Node, &str) -> Option<DuplexStream>>;

thread_local! {
    static DIAL: RefCell<Option<Dial>> = const { RefCell::new(None) };
}

/// What this thread dials from here on.
pub fn set_dial(dial: Option<Dial>) {
    DIAL.with(|slot| *slot.borrow_mut() = dial);
}

/// Dials an address as the node whose turn it is.
pub(super) fn dial(address: &str) -> std::io::Result<DuplexStream> {
    let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    DIAL.with(|slot| slot.borrow().as_ref().and_then(|dial| dial(simulation::node(), address))).ok_or_else(refused)
}
