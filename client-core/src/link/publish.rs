//! Enrolling a new device in every offered space: in which order disk and relay are written, and when to tell it.

use super::{Fault, GrantedSpaceInput, planted};

/// The existing device's way through the offered spaces once its person has agreed.
///
/// Where a step fails, the same one is asked for again: what lies on the disk alone is never taken for published.
#[derive(Debug, Clone)]
pub struct Publishing {
    spaces: usize,
    granted: Vec<GrantedSpaceInput>,
    part: Part,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Ask,
    Write,
    Send(GrantedSpaceInput),
}

/// What enrolling wants done next. Spaces are counted in the order of the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishStep {
    /// Make the records of this space equal with the relay's, then call [`Publishing::exchanged`].
    Exchange(usize),
    /// Write the records that add the new device to disk, then call [`Publishing::enrolled`].
    Enrol(usize),
    /// Every space's records are on the disk and at the relay: the new device can be told.
    Grant,
}

impl Publishing {
    /// Begins with the first of so many spaces.
    #[must_use]
    pub const fn new(spaces: usize) -> Self {
        Self { spaces, granted: Vec::new(), part: Part::Ask }
    }

    /// What to do next.
    #[must_use]
    pub const fn poll(&self) -> PublishStep {
        let at = self.granted.len();
        match self.part {
            _ if at == self.spaces => PublishStep::Grant,
            Part::Write => PublishStep::Enrol(at),
            Part::Ask | Part::Send(_) => PublishStep::Exchange(at),
        }
    }

    /// The relay holds what this device holds, and the other way round.
    pub fn exchanged(&mut self) {
        self.part = match self.part {
            // A new record cites the newest ones: what others wrote comes first.
            Part::Ask => Part::Write,
            Part::Write => Part::Write,
            Part::Send(granted) => {
                self.granted.push(granted);
                Part::Ask
            }
        };
    }

    /// The records that add the new device are on this device's disk.
    pub fn enrolled(&mut self, granted: GrantedSpaceInput) {
        if matches!(self.part, Part::Write) {
            self.part = Part::Send(granted);
        }
        if planted(Fault::GrantUnsent) {
            self.exchanged();
        }
    }

    /// The spaces so far, each at the relay.
    #[must_use]
    pub fn granted(&self) -> &[GrantedSpaceInput] {
        &self.granted
    }
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{RecordId, SpaceId};

    use super::*;

    fn granted(at: u8) -> GrantedSpaceInput {
        GrantedSpaceInput { space: SpaceId([at; 32]), device_add: RecordId([at; 32]), head: RecordId([at; 32]) }
    }

    #[test]
    fn every_space_is_read_then_written_then_sent_before_the_new_device_is_told() {
        let mut publishing = Publishing::new(2);
        for at in 0..2 {
            assert_eq!(publishing.poll(), PublishStep::Exchange(at));
            publishing.exchanged();
            assert_eq!(publishing.poll(), PublishStep::Enrol(at));
            publishing.enrolled(granted(at as u8));
            assert_eq!(publishing.poll(), PublishStep::Exchange(at));
            publishing.exchanged();
        }
        assert_eq!(publishing.poll(), PublishStep::Grant);
        assert_eq!(publishing.granted(), [granted(0), granted(1)]);
    }

    #[test]
    fn an_enrolment_that_could_not_be_sent_is_sent_again_and_not_taken_for_sent() {
        let mut publishing = Publishing::new(1);
        publishing.exchanged();
        publishing.enrolled(granted(0));
        // The exchange fails here and nothing is called: asked again, the answer is the same.
        assert_eq!(publishing.poll(), PublishStep::Exchange(0));
        assert_eq!(publishing.poll(), PublishStep::Exchange(0));
        assert!(publishing.granted().is_empty());
    }
}
