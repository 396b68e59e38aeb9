//! Who is here now, and where: shown to the devices of a space that sync live at the same time, and stored nowhere.

use super::{Client, ClientError};
use crate::modules::notes::body;
use crate::presence::{Activity, At, Point, Shown};

/// Where this person is, for the others in the space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PresenceDraft {
    /// Nobody has done anything for a while.
    pub idle: bool,
    /// The note that is open, as [`super::Client::note`] takes it.
    pub note: Option<String>,
    /// What is selected in it.
    pub selection: Option<Selection>,
}

/// A part of a note's text, in places as [`super::Client::note_splice`] takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Selection {
    /// Where it began.
    pub anchor: u32,
    /// Where the caret is; equal to the anchor when nothing is selected.
    pub head: u32,
}

/// Another device that is here now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DevicePresence {
    /// Hex.
    pub device: String,
    /// What it is called, if that is known here.
    pub device_name: String,
    /// Whose it is, hex.
    pub member: String,
    /// What they are called; nothing where all devices are one person's.
    pub person: String,
    /// Nobody has done anything there for a while.
    pub idle: bool,
    /// The note that is open there, hex; it may not be here yet.
    pub note: Option<String>,
    /// What is selected in it, in the places of the text as it is here; none while what was written there has not come.
    pub selection: Option<Selection>,
    /// How long ago it said so (ms).
    pub heard_ago_ms: u64,
}

impl Client {
    /// Shows the others of this space, while it syncs live, that somebody is here and where; `None` ends it. Call it as
    /// often as things change: the latest goes, at most four times a second. Who shows nothing sees nobody.
    /// # Errors
    /// [`ClientError::NotFound`] for a note that is not here, [`ClientError::Invalid`] for a place outside its text.
    pub fn set_presence(&self, presence: Option<PresenceDraft>) -> Result<(), ClientError> {
        let shown = presence.map(|presence| self.shown(&presence)).transpose()?;
        self.shared.presence.show(shown);
        Ok(())
    }

    fn shown(&self, presence: &PresenceDraft) -> Result<Shown, ClientError> {
        let activity = if presence.idle { Activity::Idle } else { Activity::Here };
        let Some(note) = &presence.note else {
            return match presence.selection {
                None => Ok(Shown { activity, at: None }),
                Some(_) => Err(ClientError::invalid("a selection is one in a note: say in which")),
            };
        };
        let doc = self.note_id(note)?;
        let points = |Selection { anchor, head }| {
            let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
            let found = self.shared.store().read(&self.space(), &doc, |document| {
                Ok((body::point_at(document, place(anchor))?, body::point_at(document, place(head))?))
            })?;
            found.unwrap_or_else(|| Err(ClientError::not_found(format!("note {note}"))))
        };
        let selection = presence.selection.map(points).transpose()?;
        Ok(Shown { activity, at: Some(At { doc, selection }) })
    }

    /// The other devices that are here now, as they said within the last half minute. Places are told as they are in
    /// the text of this device. [`crate::event::Event::PresenceChanged`] says when to ask again.
    /// # Errors
    /// [`ClientError`].
    pub fn presence(&self) -> Result<Vec<DevicePresence>, ClientError> {
        let (state, heard) = (self.shared.state(), self.shared.presence.here());
        let mut here = Vec::new();
        if heard.is_empty() {
            return Ok(here);
        }
        let names = self.names()?;
        for (device, shown, heard_ago_ms) in heard {
            let Some(enrolled) = state.membership.devices.get(&device).filter(|one| one.removed_by.is_none()) else {
                continue;
            };
            here.push(DevicePresence {
                device: device.to_string(),
                device_name: names.device(&device),
                member: enrolled.member.to_string(),
                person: names.member(&enrolled.member),
                idle: shown.activity == Activity::Idle,
                note: shown.at.map(|at| at.doc.to_string()),
                selection: shown.at.map(|at| self.selection(&at)).transpose()?.flatten(),
                heard_ago_ms,
            });
        }
        Ok(here)
    }

    /// Where that is here; nothing while what was written there has not come.
    fn selection(&self, at: &At) -> Result<Option<Selection>, ClientError> {
        let Some((anchor, head)) = at.selection else { return Ok(None) };
        let found = self.shared.store().read(&self.space(), &at.doc, |document| {
            let place = |point: Point| body::find_point(document, point).and_then(|at| u32::try_from(at).ok());
            Some(Selection { anchor: place(anchor)?, head: place(head)? })
        })?;
        Ok(found.flatten())
    }
}
