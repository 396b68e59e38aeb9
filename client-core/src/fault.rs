//! Faults that the exploration plants to show that it finds them; outside tests none can be planted.

/// A mistake that would be easy to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Whatever the person types or answers is taken for right.
    CodeUnchecked,
    /// The new device keeps its root before the records have shown its enrolment.
    KeyBeforeProof,
    /// The new device writes its root to disk when it begins, and its home only once it is linked.
    #[cfg(test)]
    RootBeforeHome,
    /// Saying no to what a device asks does not end its attempt.
    RefusalIgnored,
    /// The existing device tells the new one of an enrolment that is on its own disk alone.
    GrantUnsent,
    /// The existing device publishes an enrolment before it lies on its own disk.
    #[cfg(test)]
    EnrolmentUnsaved,
    /// A recovery that was begun is not gone on with.
    ResumeRefused,
    /// A recovery overlooks the devices that others than the founding record enrolled.
    StrangerLeft,
    /// A recovery goes on, and saves a key, without having opened the newest epoch.
    EpochUnopened,
    /// A recovery publishes its new device's key before that is saved.
    KeyUnsaved,
    /// A recovery goes by what it sent, not by what the relay gives back.
    SentBelieved,
}

/// Whether this fault is planted: never outside tests.
#[cfg(not(test))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planting::{planted, with_fault};

#[cfg(test)]
mod planting {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// Runs something with a fault in place, on this thread.
    pub(crate) fn with_fault<T>(fault: Fault, run: impl FnOnce() -> T) -> T {
        PLANTED.set(Some(fault));
        let result = run();
        PLANTED.set(None);
        result
    }
}
