//! Wakes devices that are not connected: something new is in a space's log, and a word that says nothing else tells them
//! to come and look.
//!
//! ```text
//! writer: stored, the device does not follow ─ DUE, in the same commit ─▶ bell
//! run:    after a moment (what comes together wakes once) ─ everybody who is DUE and not here, as rates allow
//!         ─▶ WOKEN, durable ─▶ Waker ─┬ taken: nothing more until the device has come
//!                                     ├ later: again with jitter, a few times, while the device stays away
//!                                     ├ gone: its address is forgotten
//!                                     └ refused: nothing more
//! ```
//!
//! What is not begun stays DUE in the database: nothing here grows with the number of devices, and nothing waits for it.

mod webhook;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::wakeup::WakeupTarget;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use webhook::Webhook;

use crate::limits::{Limits, ms};
use crate::rate::{KeyedRate, Rate};
use crate::server::{Phase, Relay, until_not_running};
use crate::store::{DueWakeup, StoreError, WakeupWork, Waking};

pub(crate) use lifeos_sync_protocol::address::{is_inside, is_public};

/// Devices that are asked for at once.
const DUE_AT_ONCE: usize = 256;
/// Requests to one host at the same time, so that a slow one does not keep the others waiting.
const PER_HOST_AT_ONCE: usize = 4;
/// Hosts whose semaphore is remembered before those are dropped that nobody uses.
const HOSTS_MAX: usize = 1_024;

/// Reaches a device that is not connected.
pub trait Waker: Send + Sync + 'static {
    /// Whether this target may be asked for at all.
    fn allows(&self, target: &WakeupTarget) -> bool;

    /// Tells the device to connect. Bounded in time and memory, whatever the other side does.
    fn wake<'a>(&'a self, target: &'a WakeupTarget) -> Pin<Box<dyn Future<Output = Woken> + Send + 'a>>;
}

/// What came of waking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The push service has it.
    Taken,
    /// The push service does not know this target any more.
    Gone,
    /// It may work later, and not before this time if it is named.
    Later(Option<Duration>),
    /// It will not work.
    Refused,
}

/// What everybody shares who has to do with waking.
pub(crate) struct Wakes {
    pub(crate) waker: Arc<dyn Waker>,
    bell: Notify,
    /// WAKEUP frames, by device: each is a commit.
    pub(crate) asked: KeyedRate<SignPk>,
    /// By space and device.
    each: KeyedRate<(i64, SignPk)>,
    hosts: KeyedRate<String>,
    at_once: Arc<Semaphore>,
    by_host: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Wakes {
    pub(crate) fn new(waker: Arc<dyn Waker>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            waker,
            bell: Notify::new(),
            asked: KeyedRate::per_minute(limits.device_wakeup_frames_per_minute_max),
            each: KeyedRate::new(Rate::new(1, ms(limits.wakeup_every_ms), 1)),
            hosts: KeyedRate::per_minute(limits.wakeups_per_host_minute_max),
            at_once: Arc::new(Semaphore::new(limits.wakeups_at_once_max.max(1))),
            by_host: Mutex::default(),
        })
    }

    /// Somebody may be to be woken.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    fn host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.by_host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(host).and_then(Weak::upgrade) {
            return known;
        }
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(PER_HOST_AT_ONCE));
        hosts.insert(host.to_owned(), Arc::downgrade(&new));
        new
    }
}

/// Wakes until the relay stops.
pub(crate) async fn run(relay: Arc<Relay>, wakes: Arc<Wakes>) {
    let mut phase: watch::Receiver<Phase> = relay.phase.clone();
    let mut waking = JoinSet::new();
    let mut busy = HashSet::new();
    // What was due when the relay stopped.
    let mut look_at = Some(Instant::now() + ms(relay.limits.wakeup_delay_ms));
    loop {
        let at = look_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
        tokio::select! {
            () = wakes.bell.notified() => {
                look_at = Some(earlier(look_at, ms(relay.limits.wakeup_delay_ms)));
                continue;
            }
            Some(done) = waking.join_next(), if !waking.is_empty() => {
                if let Ok((device, is_due)) = done {
                    busy.remove(&device);
                    if is_due {
                        look_at = Some(earlier(look_at, later(&relay.limits)));
                    }
                }
                continue;
            }
            () = sleep_until(at) => {}
            () = until_not_running(&mut phase) => return,
        }
        look_at = look(&relay, &wakes, &mut waking, &mut busy).await.map(|wait| Instant::now() + wait);
    }
}

/// The first bell decides: more that comes meanwhile does not put it off.
fn earlier(look_at: Option<Instant>, wait: Duration) -> Instant {
    let at = Instant::now() + wait;
    look_at.map_or(at, |look_at| look_at.min(at))
}

/// When what may not begin now is looked at again.
fn later(limits: &Limits) -> Duration {
    ms(limits.wakeup_every_ms.clamp(100, 60_000))
}

type Key = (i64, SignPk);

/// Begins what may begin now; answers when to look again for what may not.
async fn look(
    relay: &Arc<Relay>,
    wakes: &Arc<Wakes>,
    waking: &mut JoinSet<(Key, bool)>,
    busy: &mut HashSet<Key>,
) -> Option<Duration> {
    let later = later(&relay.limits);
    let (mut after, mut again) = (None, None);
    loop {
        let due = match relay.store.readers().due_wakeups(after, DUE_AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which devices are to be woken");
                return Some(later);
            }
        };
        let Some(last) = due.last() else { return again };
        after = Some((last.space_no, last.device));
        for one in due {
            let key = (one.space_no, one.device);
            // Who is here reads by itself, and rings when it leaves.
            if busy.contains(&key) || relay.spaces.is_here(one.space, &one.device).await {
                continue;
            }
            if waking.len() >= relay.limits.wakeups_waiting_max || !wakes.each.try_take(key, Instant::now()) {
                again = Some(later);
                continue;
            }
            busy.insert(key);
            let (relay, wakes) = (Arc::clone(relay), Arc::clone(wakes));
            waking.spawn(async move {
                let is_due = wake(&relay, &wakes, one).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "a device is not woken");
                    false
                });
                (key, is_due)
            });
        }
    }
}

/// What came of one try.
enum Tried {
    /// Nothing is left to do.
    Over,
    /// It was not begun, and is still due.
    NotNow,
    /// It may work later.
    Failed(WakeupTarget, Option<Duration>),
}

/// Wakes one device, and tries again as often as it is worth; answers whether it is still due.
async fn wake(relay: &Relay, wakes: &Wakes, due: DueWakeup) -> Result<bool, StoreError> {
    let mut begun = None;
    for attempt in 0..relay.limits.wakeup_attempts_max.max(1) {
        match try_once(relay, wakes, due, begun.take()).await? {
            Tried::Over => return Ok(false),
            Tried::NotNow => return Ok(true),
            Tried::Failed(target, after) => {
                relay.metrics.wakeups_failed_total.increment();
                begun = Some(target);
                sleep(backoff(relay, attempt).max(after.unwrap_or_default())).await;
            }
        }
    }
    if let Some(target) = begun {
        let work = WakeupWork::Dropped { token: target.token().to_owned() };
        relay.store.wakeup(due.space_no, due.device, work).await?;
    }
    Ok(false)
}

async fn try_once(
    relay: &Relay,
    wakes: &Wakes,
    due: DueWakeup,
    begun: Option<WakeupTarget>,
) -> Result<Tried, StoreError> {
    let DueWakeup { space_no, device, space } = due;
    let readers = relay.store.readers();
    let planned = match &begun {
        Some(target) => Some(target.clone()),
        None => readers.wakeup_target(space_no, device).await?,
    };
    let Some(planned) = planned else { return Ok(Tried::Over) };
    let host = planned.endpoint().map(|at| at.host.to_ascii_lowercase()).unwrap_or_default();
    let of_host = wakes.host(&host);
    let (Ok(_of_host), Ok(_of_all)) = (of_host.acquire().await, wakes.at_once.acquire().await) else {
        return Ok(Tried::Over);
    };
    // Who has come meanwhile reads by itself, and rings when it leaves.
    if relay.spaces.is_here(space, &device).await {
        return Ok(Tried::Over);
    }
    if !wakes.hosts.try_take(host, Instant::now()) {
        return Ok(begun.map_or(Tried::NotNow, |target| Tried::Failed(target, None)));
    }
    let target = match begun {
        Some(target) => {
            let is_woken = readers.is_woken(space_no, device, target.token().to_owned()).await?;
            Some(target).filter(|_| is_woken)
        }
        None => match relay.store.wakeup(space_no, device, WakeupWork::Begin).await? {
            Waking::Begun(target) => target,
            _ => None,
        },
    };
    let Some(target) = target else { return Ok(Tried::Over) };
    let token = target.token().to_owned();
    let work = match wakes.waker.wake(&target).await {
        Woken::Later(after) => return Ok(Tried::Failed(target, after)),
        Woken::Taken => {
            relay.metrics.wakeups_sent_total.increment();
            WakeupWork::Taken { token }
        }
        Woken::Gone => {
            relay.metrics.wakeup_targets_gone_total.increment();
            WakeupWork::Gone { token }
        }
        Woken::Refused => {
            relay.metrics.wakeups_failed_total.increment();
            WakeupWork::Dropped { token }
        }
    };
    relay.store.wakeup(space_no, device, work).await?;
    Ok(Tried::Over)
}

/// Half of the wait is certain and half is drawn, so that what failed together does not come back together.
fn backoff(relay: &Relay, attempt: u32) -> Duration {
    let wait = relay.limits.wakeup_retry_ms.saturating_mul(1 << attempt.min(10));
    let mut bytes = [0; 8];
    // Without randomness all wait the shortest time, which is no reason not to try.
    let drawn = SystemRandom::new().fill(&mut bytes).map_or(0, |()| u64::from_be_bytes(bytes));
    ms(wait / 2 + drawn % (wait / 2 + 1))
}
