//! Linking a device: carries the messages of [`crate::link`] through a mailbox, enrols, and makes the new home.
//!
//! | | new device | existing device |
//! |---|---|---|
//! | with a camera | [`LinkNew`] shows a link, then six digits | [`LinkApprove`] takes both |
//! | without | [`SasNew`] shows eight letters, then pictures | [`SasApprove`] takes the letters, shows the same pictures |

mod existing;
mod machine;
mod new;

use std::time::Duration;

use tokio::time::Instant;

use super::ClientError;
use crate::engine::{EngineError, Mailboxes};
use crate::link::{LinkError, LinkStep};

pub use existing::{LinkApprove, SasApprove};
use machine::Machine;
pub use new::{LinkNew, SasNew};

/// How long a link can be answered.
const LINK_TTL_S: u32 = 600;
/// How long a person may take to compare, or to walk to the other device, before the mailbox is gone anyway.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(LINK_TTL_S as u64);
/// How long the approving device waits for the new one, which shows its link already.
const KEYS_TIMEOUT: Duration = Duration::from_secs(60);

impl From<LinkError> for ClientError {
    fn from(error: LinkError) -> Self {
        let message = error.to_string();
        match error {
            LinkError::Text | LinkError::Code | LinkError::Name | LinkError::TooLarge | LinkError::Over => {
                Self::Invalid { message }
            }
            _ => Self::Security { message },
        }
    }
}

/// A machine and the mailbox it speaks through.
struct Carrier<M> {
    mailboxes: Mailboxes,
    machine: M,
}

impl<M: Machine> Carrier<M> {
    /// Sends and receives until the machine wants something else; gives what that is.
    async fn carry(&mut self, deadline: Instant) -> Result<LinkStep, ClientError> {
        loop {
            match self.machine.poll() {
                LinkStep::Send(_) | LinkStep::Wait(_) => self.step(deadline).await?,
                LinkStep::Over => return Err(LinkError::Over.into()),
                step => return Ok(step),
            }
        }
    }

    /// One message out or in.
    async fn step(&mut self, deadline: Instant) -> Result<(), ClientError> {
        match self.machine.poll() {
            LinkStep::Send(message) => {
                let index = self.mailboxes.put(self.machine.rdv(), message).await?;
                self.machine.sent(index)?;
            }
            LinkStep::Wait(index) => {
                let message = self.mailboxes.get(self.machine.rdv(), index, deadline).await?;
                self.machine.handle(index, &message)?;
            }
            _ => return Err(LinkError::Over.into()),
        }
        Ok(())
    }

    /// Typing and comparing take time; the connection may be gone by then.
    async fn reconnect(&mut self) -> Result<(), EngineError> {
        self.mailboxes = self.mailboxes.reopen().await?;
        Ok(())
    }
}
