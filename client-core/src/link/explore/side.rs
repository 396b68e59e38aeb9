//! The four machines of linking as one: what every state of each must allow, and a run that nobody disturbs.

use lifeos_sync_protocol::record::Record;

use super::space::{opens, root_of};
use crate::crypto::SeededRandom;
use crate::link::fixture::Space;
use crate::link::{
    CODE_TRIES_MAX, CodeCheck, ExistingDevice, Granted, GrantedSpaceInput, LinkError, LinkStep, NewDevice, NewEntry,
    SasExistingDevice, SasNewDevice,
};

/// An index that no message of a link has.
const NO_INDEX: u32 = 7;
/// More than the messages of any link.
const STEPS_MAX: usize = 16;

/// A side of a link.
pub(super) trait Side: Clone {
    fn poll(&self) -> LinkStep;
    fn sent(&mut self, index: u32) -> Result<(), LinkError>;
    fn take(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError>;
    /// What it shows to be typed or compared.
    fn shows(&self) -> Option<String>;
    /// The person answers with what the other device shows, or for as long as they are asked that it is not so.
    fn answer(&mut self, shown: Option<&str>) -> Result<(), LinkError>;
}

/// The new device's.
pub(super) trait NewSide: Side {
    fn proves(&self, records: &[Record]) -> bool;
    fn granted(&self) -> Option<&Granted>;
}

/// The existing device's.
pub(super) trait ExistingSide: Side {
    fn entry(&self) -> Option<NewEntry>;
    fn grant(&mut self, granted: GrantedSpaceInput) -> Result<(), LinkError>;
}

/// Whoever says no to a device, or answers it with rubbish, ends its attempt, and it says what to do then.
pub(super) fn check_refusal(side: &impl Side) -> Result<(), String> {
    let mut side = side.clone();
    let refused = match side.poll() {
        LinkStep::Send(_) => side.sent(NO_INDEX),
        LinkStep::Wait(index) => side.take(index, b"rubbish"),
        LinkStep::AskCode | LinkStep::Compare => side.answer(None),
        // Nobody is asked any more: what can fail now is disk and network, and whatever they leave is looked at.
        LinkStep::Publish | LinkStep::Done => return Ok(()),
        LinkStep::Over => return Err("a device lives on in an attempt that is over".into()),
    };
    let error = refused.err().ok_or("a device goes on whatever is said to it")?;
    if side.poll() != LinkStep::Over {
        return Err("a device that was refused does not end".into());
    }
    if tells_what_to_do(&error) { Ok(()) } else { Err(format!("nobody can tell what to do after: {error}")) }
}

pub(super) fn tells_what_to_do(error: &LinkError) -> bool {
    let text = error.to_string();
    ["again", "check the relay", "has to be", "like ABCD"].iter().any(|advice| text.contains(advice))
}

/// Two devices and an honest relay that holds these records: the new one ends with a home that it can read.
pub(super) fn link_undisturbed<N: NewSide, E: ExistingSide>(
    (mut new, attempt): (N, usize),
    mut existing: E,
    person: &Space,
    records: &[Record],
) -> Result<(), String> {
    let (mut mailbox, mut records) = (Vec::new(), records.to_vec());
    let told = |error: LinkError| format!("the next attempt fails: {error}");
    for _ in 0..STEPS_MAX {
        carry(&mut new, &mut mailbox).map_err(told)?;
        carry(&mut existing, &mut mailbox).map_err(told)?;
        let (on_new, on_existing) = (new.shows(), existing.shows());
        if matches!(existing.poll(), LinkStep::AskCode | LinkStep::Compare) && on_new.is_some() {
            existing.answer(on_new.as_deref()).map_err(told)?;
        }
        if new.poll() == LinkStep::Compare && on_existing.is_some() {
            new.answer(on_existing.as_deref()).map_err(told)?;
        }
        if let Some(entry) = existing.entry() {
            let enrolled =
                person.enrol(&records, &entry).map_err(|error| format!("the next attempt fails: {error}"))?;
            existing.grant(enrolled.1).map_err(told)?;
            records = enrolled.0;
        }
        if new.granted().is_some() {
            let whole = new.proves(&records) && opens(person, &root_of(attempt), &records);
            return if whole { Ok(()) } else { Err("the next attempt ends without a home that it can read".into()) };
        }
    }
    Err("the next attempt does not end".into())
}

fn carry(side: &mut impl Side, mailbox: &mut Vec<Vec<u8>>) -> Result<(), LinkError> {
    match side.poll() {
        LinkStep::Send(message) => {
            mailbox.push(message);
            side.sent(u32::try_from(mailbox.len() - 1).unwrap())
        }
        LinkStep::Wait(index) => match mailbox.get(usize::try_from(index).unwrap()) {
            Some(message) => side.take(index, message),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

macro_rules! side {
    ($machine:ident, ($($random:expr)?), $shows:expr, $answer:expr) => {
        impl Side for $machine {
            fn poll(&self) -> LinkStep {
                Self::poll(self)
            }

            fn sent(&mut self, index: u32) -> Result<(), LinkError> {
                Self::sent(self, index)
            }

            fn take(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError> {
                self.handle(index, message $(, &mut $random)?)
            }

            fn shows(&self) -> Option<String> {
                let shows: fn(&Self) -> Option<String> = $shows;
                shows(self)
            }

            fn answer(&mut self, shown: Option<&str>) -> Result<(), LinkError> {
                let answer: fn(&mut Self, Option<&str>) -> Result<(), LinkError> = $answer;
                answer(self, shown)
            }
        }
    };
}

side!(NewDevice, (SeededRandom::new(300)), |side| side.code().map(|code| code.to_string()), |_, _| {
    Err(LinkError::Over)
});
side!(ExistingDevice, (), |_| None, |side, shown| {
    let wrong = if side.own_code().as_deref() == Some("000000") { "111111" } else { "000000" };
    for _ in 0..CODE_TRIES_MAX {
        if side.enter_code(shown.unwrap_or(wrong))? == CodeCheck::Right {
            return Ok(());
        }
    }
    Err(LinkError::Over)
});
side!(SasNewDevice, (), |side| side.comparison().map(|shown| format!("{shown:?}")), |side, shown| {
    side.confirm(shown.is_some() && shown == side.shows().as_deref())
});
side!(SasExistingDevice, (), |side| side.comparison().map(|shown| format!("{shown:?}")), |side, shown| {
    side.confirm(shown.is_some() && shown == side.shows().as_deref())
});

macro_rules! new_sides {
    ($($machine:ident)*) => {$(
        impl NewSide for $machine {
            fn proves(&self, records: &[Record]) -> bool {
                self.prove(&[records.to_vec()]).is_ok()
            }

            fn granted(&self) -> Option<&Granted> {
                Self::granted(self)
            }
        }
    )*};
}
new_sides!(NewDevice SasNewDevice);

macro_rules! existing_sides {
    ($($machine:ident)*) => {$(
        impl ExistingSide for $machine {
            fn entry(&self) -> Option<NewEntry> {
                self.new_entries()?.first().cloned()
            }

            fn grant(&mut self, granted: GrantedSpaceInput) -> Result<(), LinkError> {
                Self::grant(self, "Ada", &[], &[granted])
            }
        }
    )*};
}
existing_sides!(ExistingDevice SasExistingDevice);
