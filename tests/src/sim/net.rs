//! Links of the simulated network: bytes go after a delay, in order, until a link stalls or is cut.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeos_client_core::simulation::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::watch;
use tokio::time::sleep;

use super::host::Dice;

/// Bytes that a link takes before the sender waits.
const PIPE_BYTES: usize = 64 * 1024;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Bytes go.
    Up,
    /// Bytes wait, and nobody is told.
    Stalled,
    /// Nobody answers.
    Down,
}

/// One device and one relay.
type Ends = (Node, usize);

#[derive(Debug, Clone, Copy)]
struct Now {
    state: State,
    /// Connections of an earlier one are broken.
    era: u64,
}

/// All links.
#[derive(Debug)]
pub(super) struct Net {
    links: Mutex<BTreeMap<Ends, watch::Sender<Now>>>,
    dice: Mutex<Dice>,
    /// Delays are below this (ms).
    delay_ms: u64,
    carried: Mutex<u64>,
}

impl Net {
    pub(super) fn new(seed: u64, delay_ms: u64) -> Arc<Self> {
        let dice = Mutex::new(Dice::new(seed ^ 0x006e_6574));
        Arc::new(Self { links: Mutex::default(), dice, delay_ms, carried: Mutex::default() })
    }

    fn link<T>(&self, ends: Ends, with: impl FnOnce(&watch::Sender<Now>) -> T) -> T {
        let mut links = self.links.lock().expect("whole");
        with(links.entry(ends).or_insert_with(|| watch::Sender::new(Now { state: State::Up, era: 0 })))
    }

    /// Sets a link; what was on its way is lost if it goes down.
    pub(super) fn set(&self, ends: Ends, state: State) {
        self.link(ends, |link| {
            link.send_modify(|now| {
                now.era += u64::from(state == State::Down);
                now.state = state;
            });
        });
    }

    /// Breaks the connections of a link that is otherwise as it was.
    pub(super) fn break_off(&self, ends: Ends) {
        self.link(ends, |link| link.send_modify(|now| now.era += 1));
    }

    pub(super) fn state(&self, ends: Ends) -> State {
        self.link(ends, |link| link.borrow().state)
    }

    /// Bytes that went.
    pub(super) fn carried(&self) -> u64 {
        *self.carried.lock().expect("whole")
    }

    /// A connection, if the link is not down: the client's end, and the relay's.
    pub(super) fn connect(self: &Arc<Self>, ends: Ends) -> Option<(DuplexStream, DuplexStream)> {
        if self.state(ends) == State::Down {
            return None;
        }
        let ((near, near_far), (far_near, far)) = (duplex(PIPE_BYTES), duplex(PIPE_BYTES));
        let ((near_in, near_out), (far_in, far_out)) = (split(near_far), split(far_near));
        for (from, to) in [(near_in, far_out), (far_in, near_out)] {
            let link = self.link(ends, watch::Sender::subscribe);
            tokio::spawn(carry(Arc::clone(self), link, from, to));
        }
        Some((near, far))
    }

    fn delay(&self) -> Duration {
        let mut dice = self.dice.lock().expect("whole");
        let longest = if dice.one_in(40) { self.delay_ms * 20 } else { self.delay_ms };
        Duration::from_millis(1 + dice.below(longest))
    }
}

async fn carry(
    net: Arc<Net>,
    mut link: watch::Receiver<Now>,
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
) {
    let era = link.borrow().era;
    let mut broken = link.clone();
    let going = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let count = from.read(&mut bytes).await.unwrap_or(0);
            if count == 0 {
                let _ = to.shutdown().await;
                return;
            }
            sleep(net.delay()).await;
            let flows = link.wait_for(|now| now.state == State::Up).await.is_ok();
            if !flows || to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
            *net.carried.lock().expect("whole") += count as u64;
        }
    };
    tokio::select! {
        biased;
        _ = broken.wait_for(|now| now.era != era) => {}
        () = going => {}
    }
}
