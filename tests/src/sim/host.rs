//! Time, randomness and commits in the simulated world, as the seams of client and relay ask for them.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use lifeos_client_core::crypto::{Random, SeededRandom};
use lifeos_client_core::simulation::{self, Host, Node};
use tokio::time::Instant;

/// When every world begins (ms UTC).
const BEGIN_MS: i64 = 1_790_000_000_000;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// Dice that a seed determines; splitmix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// Any number.
    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.any() % if end == 0 { 1 } else { end }
    }

    /// True once in so many times.
    pub const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
    }
}

/// The symbol by which the standard library seeds its hash tables: on a thread of a simulation they and all that follows
/// from their order are the seed's.
///
/// # Safety
/// As of the C function: `buffer` takes `length` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    match SEED.try_with(Cell::get).ok().flatten() {
        Some(seed) => {
            let mut dice = Dice::new(seed);
            // SAFETY: the caller says that so many bytes are there.
            let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
            bytes.iter_mut().for_each(|byte| *byte = dice.any().to_le_bytes()[0]);
            libc::ssize_t::try_from(length).unwrap_or(0)
        }
        // SAFETY: the arguments are the caller's own.
        None => unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as libc::ssize_t },
    }
}

/// Before anything else is done on a thread.
pub(super) fn seed_this_thread(seed: u64) {
    SEED.set(Some(seed));
    // Named, so that the linker keeps it.
    std::hint::black_box(getrandom as *const ());
}

/// What a device or relay may still do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Life {
    /// It writes nothing and says nothing any more.
    pub(super) dead: bool,
    /// Dies at a commit: half steps until then; even before it, odd after it.
    pub(super) fuse: Option<u32>,
    /// Commits so far.
    pub(super) commits: u64,
}

impl Life {
    fn commits(&mut self) -> bool {
        if self.dead {
            return false;
        }
        match self.fuse {
            Some(0) => {
                self.dead = true;
                return false;
            }
            Some(1) => self.dead = true,
            Some(left) => self.fuse = Some(left - 2),
            None => {}
        }
        self.commits += 1;
        true
    }
}

/// What the seams ask.
#[derive(Debug)]
pub(super) struct World {
    begun: Instant,
    random: Mutex<SeededRandom>,
    /// Time that has passed while nobody looked (ms).
    passed_ms: Mutex<i64>,
    /// How far each clock is off (ms).
    off_ms: Mutex<BTreeMap<Node, i64>>,
    devices: Mutex<BTreeMap<Node, Life>>,
    relays: Mutex<BTreeMap<PathBuf, Life>>,
}

impl World {
    /// The true time (ms UTC).
    pub(super) fn true_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        BEGIN_MS + elapsed + *self.passed_ms.lock().expect("whole")
    }

    /// Milliseconds since the beginning, without jumps.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Time passes in which nothing happens.
    pub(super) fn pass(&self, ms: i64) {
        *self.passed_ms.lock().expect("whole") += ms;
    }

    /// A clock is set wrong.
    pub(super) fn set_off(&self, node: Node, ms: i64) {
        self.off_ms.lock().expect("whole").insert(node, ms);
    }

    pub(super) fn device<T>(&self, node: Node, with: impl FnOnce(&mut Life) -> T) -> T {
        with(self.devices.lock().expect("whole").entry(node).or_default())
    }

    pub(super) fn relay<T>(&self, dir: &Path, with: impl FnOnce(&mut Life) -> T) -> T {
        with(self.relays.lock().expect("whole").entry(dir.to_owned()).or_default())
    }
}

struct OfWorld(Arc<World>);

impl Host for OfWorld {
    fn now_ms(&self, node: Node) -> i64 {
        self.0.true_ms() + self.0.off_ms.lock().expect("whole").get(&node).copied().unwrap_or(0)
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.0.random.lock().expect("whole").fill(bytes);
    }

    fn may_commit(&self, node: Node) -> bool {
        self.0.device(node, Life::commits)
    }
}

/// Begins a world on this thread; inside a runtime.
pub(super) fn enter(seed: u64) {
    let world = Arc::new(World {
        begun: Instant::now(),
        random: Mutex::new(SeededRandom::new(seed)),
        passed_ms: Mutex::default(),
        off_ms: Mutex::default(),
        devices: Mutex::default(),
        relays: Mutex::default(),
    });
    simulation::enter(Rc::new(OfWorld(Arc::clone(&world))));
    let relays = Arc::clone(&world);
    lifeos_sync_server::simulation::enter(Rc::new(move |dir| relays.relay(dir, Life::commits)));
    WORLD.set(Some(world));
}

/// It is over.
pub(super) fn leave() {
    simulation::leave();
    lifeos_sync_server::simulation::leave();
    lifeos_client_core::transport::set_dial(None);
    WORLD.set(None);
}

/// The world of this thread.
pub(super) fn world() -> Arc<World> {
    WORLD.with_borrow(|world| world.clone().expect("inside a world"))
}
