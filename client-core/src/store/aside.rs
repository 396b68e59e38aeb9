//! Why an envelope was set aside, as one of a few kinds, each with what a person can do about it.

use super::erase::{ERASED, NOT_ENTITLED};
use super::receive::{AFTER_FORK, AFTER_REMOVAL, DAMAGED, ENDED, NOT_A_WRITER, OTHER_BRANCH, SUSPECT};
use crate::envelope::RefusedEnvelope;
use crate::fence::FenceError;

/// What kind of reason an envelope is set aside for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Aside {
    /// Its bytes were changed on the way, or never were what they claim to be.
    Broken,
    /// Nobody in the space writes its stream.
    UnknownAuthor,
    /// Its author may not write.
    NotWriter,
    /// Those before it in its stream have not come.
    OutOfOrder,
    /// Two copies of one device wrote its stream.
    TwoCopies,
    /// It came after its device was removed.
    AfterRemoval,
    /// The key that it is sealed under is not here.
    UnknownKey,
    /// The key is here, and it does not open.
    DoesNotOpen,
    /// A change inside is not one that this app makes.
    BadChange,
    /// A change inside is of a kind that this version does not know.
    NewerKind,
    /// A change inside took too long, or ended in a fault.
    Fault,
    /// The document that it changes is damaged on this device.
    DamagedHere,
    /// It came with one that ended the program, and is tried alone.
    Suspect,
    /// The note that it changes was erased.
    Erased,
    /// Written down by another version of this program.
    Other,
}

/// Every reason of an envelope.
const REFUSALS: [RefusedEnvelope; 10] = [
    RefusedEnvelope::Layout,
    RefusedEnvelope::UnknownAuthor,
    RefusedEnvelope::NotWriter,
    RefusedEnvelope::Chain,
    RefusedEnvelope::Fork,
    RefusedEnvelope::StreamFull,
    RefusedEnvelope::TooLarge,
    RefusedEnvelope::Signature,
    RefusedEnvelope::UnknownEpoch,
    RefusedEnvelope::DoesNotOpen,
];

/// Every reason of a change.
const FAULTS: [FenceError; 12] = [
    FenceError::ChunkType,
    FenceError::TooLarge,
    FenceError::Parse,
    FenceError::Actor,
    FenceError::Author,
    FenceError::UnknownActor,
    FenceError::DuplicateSeq,
    FenceError::Counter,
    FenceError::Genesis,
    FenceError::Panic,
    FenceError::Timeout,
    FenceError::Apply,
];

/// Reasons that are neither's.
const STANDINGS: [(&str, Aside); 9] = [
    (AFTER_FORK, Aside::TwoCopies),
    (OTHER_BRANCH, Aside::TwoCopies),
    (AFTER_REMOVAL, Aside::AfterRemoval),
    (NOT_A_WRITER, Aside::NotWriter),
    (DAMAGED, Aside::DamagedHere),
    (SUSPECT, Aside::Suspect),
    (ENDED, Aside::Fault),
    (ERASED, Aside::Erased),
    (NOT_ENTITLED, Aside::NotWriter),
];

const fn of_envelope(refused: RefusedEnvelope) -> Aside {
    match refused {
        RefusedEnvelope::Layout | RefusedEnvelope::Signature | RefusedEnvelope::TooLarge => Aside::Broken,
        RefusedEnvelope::UnknownAuthor => Aside::UnknownAuthor,
        RefusedEnvelope::NotWriter => Aside::NotWriter,
        RefusedEnvelope::Chain | RefusedEnvelope::StreamFull => Aside::OutOfOrder,
        RefusedEnvelope::Fork => Aside::TwoCopies,
        RefusedEnvelope::UnknownEpoch => Aside::UnknownKey,
        RefusedEnvelope::DoesNotOpen => Aside::DoesNotOpen,
    }
}

const fn of_change(error: FenceError) -> Aside {
    match error {
        FenceError::ChunkType
        | FenceError::TooLarge
        | FenceError::Parse
        | FenceError::Actor
        | FenceError::Author
        | FenceError::UnknownActor
        | FenceError::DuplicateSeq
        | FenceError::Counter
        | FenceError::Apply => Aside::BadChange,
        FenceError::Genesis => Aside::NewerKind,
        FenceError::Panic | FenceError::Timeout => Aside::Fault,
    }
}

impl Aside {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::Broken,
        Self::UnknownAuthor,
        Self::NotWriter,
        Self::OutOfOrder,
        Self::TwoCopies,
        Self::AfterRemoval,
        Self::UnknownKey,
        Self::DoesNotOpen,
        Self::BadChange,
        Self::NewerKind,
        Self::Fault,
        Self::DamagedHere,
        Self::Suspect,
        Self::Erased,
        Self::Other,
    ];

    /// The kind of a reason as it was written down.
    #[must_use]
    pub fn of(reason: &str) -> Self {
        let standing = STANDINGS.iter().find(|(known, _)| *known == reason).map(|(_, aside)| *aside);
        let envelope = || REFUSALS.into_iter().find(|refused| refused.to_string() == reason).map(of_envelope);
        let change = || FAULTS.into_iter().find(|error| error.to_string() == reason).map(of_change);
        standing.or_else(envelope).or_else(change).unwrap_or(Self::Other)
    }

    /// Stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::UnknownAuthor => "unknown_author",
            Self::NotWriter => "not_writer",
            Self::OutOfOrder => "out_of_order",
            Self::TwoCopies => "two_copies",
            Self::AfterRemoval => "after_removal",
            Self::UnknownKey => "unknown_key",
            Self::DoesNotOpen => "does_not_open",
            Self::BadChange => "bad_change",
            Self::NewerKind => "newer_kind",
            Self::Fault => "fault",
            Self::DamagedHere => "damaged_here",
            Self::Suspect => "suspect",
            Self::Erased => "erased",
            Self::Other => "other",
        }
    }

    /// What to do, in words.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Broken => {
                "nothing of yours is lost: sync again, and if more of this comes, use another relay, for this one gives \
                 out what nobody wrote"
            }
            Self::UnknownAuthor => {
                "sync again: the record that lets its author in may not have come; if it stays, ask who shares this \
                 space with you whether they let somebody in"
            }
            Self::NotWriter => {
                "ask an owner to give its author the role of an editor with `lifeos member role` if they should write here"
            }
            Self::OutOfOrder => {
                "sync again: what comes before it has to come first; if it stays, sync through another relay"
            }
            Self::TwoCopies => {
                "if somebody restored or copied a home, edit on one of the two only and write what is missing anew; if \
                 nobody did, remove that device with `lifeos device remove`"
            }
            Self::AfterRemoval => {
                "if the edit is wanted, somebody who may write takes it in with `lifeos device adopt`; else leave it"
            }
            Self::UnknownKey => {
                "sync again: the key may be on its way; if it stays, sync a device that reads this edit, which then gives \
                 the key on"
            }
            Self::DoesNotOpen => {
                "ask its author to edit the note again, and to update their app: what they sealed cannot be opened by anybody"
            }
            Self::BadChange => {
                "ask its author to update their app and to write the edit anew: a sound app makes no such change"
            }
            Self::NewerKind => "update this app: a newer one wrote it; then it is taken in by itself",
            Self::Fault => {
                "update this app and sync again; if it stays, ask its author to write the note anew, and report it with \
                 `lifeos doctor --bundle`"
            }
            Self::DamagedHere => "run `lifeos doctor`, then restore a backup or link this device again",
            Self::Suspect => "sync again, or open the home again: it is tried alone then",
            Self::Erased => {
                "leave it: the note that it changes was erased on purpose; if the edit is wanted, ask its author to write it anew"
            }
            Self::Other => "update this app, or sync again with the version that wrote this down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_for_setting_aside_is_known_and_says_what_to_do_next() {
        for refused in REFUSALS {
            assert_eq!(Aside::of(&refused.to_string()), of_envelope(refused), "{refused}");
        }
        for error in FAULTS {
            // Two of them say the same in other words, and none says what an envelope's refusal says.
            assert_eq!(Aside::of(&error.to_string()), of_change(error), "{error}");
        }
        for (reason, aside) in STANDINGS {
            assert_eq!(Aside::of(reason), aside, "{reason}");
        }
        assert_eq!(Aside::of("what a later version may say"), Aside::Other);
        let steps = ["sync", "ask", "update", "run", "remove", "leave", "edit"];
        let mut names = std::collections::BTreeSet::new();
        for aside in Aside::ALL {
            let next = aside.next_step();
            assert!(steps.iter().any(|step| next.contains(step)), "{}: {next}", aside.name());
            assert!(names.insert(aside.name()) && next.len() > 30, "{}", aside.name());
        }
    }
}
