//! What is to be looked at in each space of a home, a line each: no alarm waits in a space where nobody looks.

use lifeos_sync_protocol::ids::SpaceId;
use lifeos_sync_protocol::record::RemoveReason;

use super::follow::reason_of;
use super::{Client, ClientError, Closing, NewDeviceNotice, SpaceNotice, SpaceSummary};
use crate::engine::wall_ms;

/// Characters of an id by which people are told of a space.
const ID_CHARS_SHOWN: usize = 8;

impl Client {
    /// The spaces of this home in which something is to be looked at, the home first.
    /// # Errors
    /// [`ClientError`]; a space that does not open is one to look at.
    pub fn notices(&self) -> Result<Vec<SpaceNotice>, ClientError> {
        self.notices_at(wall_ms())
    }

    /// The same at a time (ms UTC), which decides what is still news.
    /// # Errors
    /// As [`Client::notices`].
    pub fn notices_at(&self, now_ms: i64) -> Result<Vec<SpaceNotice>, ClientError> {
        Ok(self.spaces()?.iter().filter_map(|space| self.notice_in(space, now_ms)).collect())
    }

    /// The same for the spaces that this client does not work in.
    pub(super) fn notices_elsewhere(&self, now_ms: i64) -> Result<Vec<SpaceNotice>, ClientError> {
        let (spaces, here) = (self.spaces()?, self.space().to_string());
        let others = spaces.iter().filter(|space| space.id != here);
        Ok(others.filter_map(|space| self.notice_in(space, now_ms)).collect())
    }

    fn notice_in(&self, space: &SpaceSummary, now_ms: i64) -> Option<SpaceNotice> {
        let id = space.id.parse().map_err(|_| ClientError::not_found("such space"));
        let notice = id.and_then(|id| self.at(&id)).and_then(|client| client.notice(now_ms));
        let mut notice = notice.unwrap_or_else(|error| SpaceNotice::of(vec![error.to_string()]))?;
        notice.space.clone_from(&space.id);
        notice.name.clone_from(&space.name);
        Some(notice)
    }

    /// Nothing where all is well, and where this person left.
    fn notice(&self, now_ms: i64) -> Result<Option<SpaceNotice>, ClientError> {
        if self.is_out_of()? {
            let left = self.why_removed()? == Some(RemoveReason::Left);
            let text = "this device is no member any more: nothing comes here and nothing goes out".to_owned();
            let notice = SpaceNotice::of(vec![text]);
            return Ok(notice.filter(|_| !left).map(|notice| SpaceNotice { removed: true, ..notice }));
        }
        let status = self.status_here(now_ms)?;
        let mut what = Vec::new();
        let warnings = status.warnings.len() as u64;
        if warnings > 0 {
            what.push("its relay did what it should not".to_owned());
        }
        let new_device = |new: &NewDeviceNotice| format!("a new device of yours: {}, added by {}", new.name, new.by);
        what.extend(status.new_devices.iter().map(new_device));
        let missing = status.missing.iter().any(|missing| missing.alarm);
        if missing || !status.alarms.is_empty() {
            what.push("something does not come or does not open".to_owned());
        }
        if !status.quarantine.is_empty() {
            what.push("something was set aside".to_owned());
        }
        what.extend(status.closed.as_ref().map(Closing::text));
        Ok(SpaceNotice::of(what).map(|notice| SpaceNotice {
            warnings,
            new_devices: status.new_devices.len() as u64,
            alarms: status.alarms.len() as u64 + u64::from(missing),
            closed: status.closed.is_some(),
            ..notice
        }))
    }

    /// Whether the records or the relay say that this device is not in this space any more.
    fn is_out_of(&self) -> Result<bool, ClientError> {
        let refused = self.shared.reader().reads().refused(&self.space())?.is_some();
        Ok(refused || self.own_member().is_err())
    }

    fn why_removed(&self) -> Result<Option<RemoveReason>, ClientError> {
        let state = self.shared.state();
        let removed_by = state.membership.devices.get(&self.device()).and_then(|own| own.removed_by);
        removed_by.map(|removed_by| Ok(reason_of(&self.records()?, &removed_by))).transpose()
    }

    /// That this space is closed and where its members go on; nothing while it is open.
    /// # Errors
    /// [`ClientError`].
    pub fn closing(&self) -> Result<Option<Closing>, ClientError> {
        let Some(closed) = self.shared.state().membership.closed else { return Ok(None) };
        let name = closed.successor.map(|successor| self.name_of(&successor)).transpose()?.flatten();
        Ok(Some(Closing { successor: closed.successor.map(|successor| successor.to_string()), name }))
    }

    /// What this space is called here; nothing if that is not known.
    /// # Errors
    /// [`ClientError`].
    pub fn name(&self) -> Result<String, ClientError> {
        Ok(self.name_of(&self.space())?.unwrap_or_default())
    }

    /// What a space of this home is called.
    pub(super) fn name_of(&self, space: &SpaceId) -> Result<Option<String>, ClientError> {
        let rows = self.shared.reader().reads().spaces()?;
        let named = rows.iter().find(|row| row.space == *space).map(|row| self.called(row)).transpose()?;
        Ok(named.filter(|name| !name.is_empty()))
    }
}

impl SpaceNotice {
    /// Nothing if there is nothing to say.
    fn of(what: Vec<String>) -> Option<Self> {
        (!what.is_empty()).then(|| Self { what, ..Self::default() })
    }
}

impl Closing {
    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let short = |id: &String| id.chars().take(ID_CHARS_SHOWN).collect::<String>();
        match (&self.name, self.successor.as_ref().map(short)) {
            (Some(name), Some(id)) => format!("closed; it goes on in {name} ({id})"),
            (None, Some(id)) => {
                format!("closed; it goes on in the space {id}, which you are not in: ask a member for an invitation")
            }
            _ => "closed".to_owned(),
        }
    }
}
