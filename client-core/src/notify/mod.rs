//! Notifications: what rings when, on which device, and what to say of what was missed.
//!
//! ```text
//! items, acknowledgements, policy, zone ──► plan ──► fires: the same on every device that knows the same
//! fires, what this device did, who uses it ──► Ringer ──► rings now, and what the system is asked to ring later
//! ```
//!
//! Nothing here has a clock, a timer or a memory of its own: time is an argument, and what a [`Ringer`] has done is kept by
//! whoever drives it. A fire's name comes from the time on the clock that the rule gives, so that neither travel nor new
//! rules of zones make a thing ring again that was acknowledged. A device that knows of no acknowledgement rings:
//! twice is better than never ([decision 0030](../../../docs/decisions/0030-notifications-are-a-plan.md)).

mod fire;
mod plan;
mod quiet;
mod ringer;

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;

pub use fire::{Acks, FireId, FireKey, NotAFire};
pub use plan::{Alarm, Anchor, Fire, Inputs, Item, Nag, Policy, SNOOZE_DAYS_MAX, Trigger, Who, plan};
pub use quiet::Quiet;
pub use ringer::{Device, DeviceId, Missed, Ring, Ringer, Schedule, Woken};
