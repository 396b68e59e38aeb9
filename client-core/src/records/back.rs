//! What a relay refuses is taken back as long as nobody else can know of it: the relay cannot place what is written on
//! top of it, and a removal must not wait behind a change that the space has no room for.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::{RecordId, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, Role};

use super::{Draft, OpenedEpochs, RecordsError};
use crate::keys::DeviceKeys;

/// Records that go, and what stands in their place.
#[derive(Debug, Default)]
pub struct TakenBack {
    /// These go, with all that was written on top of them.
    pub gone: BTreeSet<RecordId>,
    /// Of these, what takes something from somebody, written again on top of what stays.
    pub instead: Vec<Record>,
}

/// Takes back what was `refused`, of those that are `untaken`: written by this device, and held by no relay. A removal,
/// a demotion or the end of a link or of a space is never taken back; behind something that is, it is written again.
///
/// # Errors
/// [`RecordsError::Full`] when what stays is no space.
pub fn take_back(
    space: &SpaceId,
    records: &[Record],
    (keys, opened): (&DeviceKeys, &OpenedEpochs),
    untaken: &BTreeSet<RecordId>,
    refused: &[RecordId],
) -> Result<TakenBack, RecordsError> {
    let gone = gone(records, untaken, refused);
    if gone.is_empty() {
        return Ok(TakenBack::default());
    }
    let (gone_records, stay): (Vec<Record>, Vec<Record>) =
        records.iter().cloned().partition(|record| gone.contains(&record.id()));
    let membership = Membership::evaluate(space, &stay).map_err(|_| RecordsError::Full)?;
    let mut draft = Draft::begin(&membership, &stay, opened, keys);
    let mut again: Vec<&Record> = gone_records.iter().filter(|record| must_stand(record.body())).collect();
    again.sort_unstable_by_key(|record| record.order());
    for record in again {
        // What has no effect without that which goes (the end of a link that never was) goes with it.
        let _ = draft.add(record.body());
    }
    Ok(TakenBack { instead: draft.finish(), gone })
}

/// What was refused and may go, with what was written on top of it; nothing that anybody else has built upon.
fn gone(records: &[Record], untaken: &BTreeSet<RecordId>, refused: &[RecordId]) -> BTreeSet<RecordId> {
    let mut ordered: Vec<&Record> = records.iter().collect();
    ordered.sort_unstable_by_key(|record| record.order());
    let mut kept: BTreeSet<RecordId> = BTreeSet::new();
    for record in ordered.iter().rev() {
        if kept.contains(&record.id()) || !untaken.contains(&record.id()) {
            kept.insert(record.id());
            kept.extend(record.parents());
        }
    }
    let mut gone = BTreeSet::new();
    for record in ordered.into_iter().filter(|record| !kept.contains(&record.id())) {
        let is_refused = refused.contains(&record.id()) && !must_stand(record.body());
        if is_refused || record.parents().iter().any(|parent| gone.contains(parent)) {
            gone.insert(record.id());
        }
    }
    gone
}

/// Whether a record takes something from somebody who must not have it.
const fn must_stand(body: &Body) -> bool {
    match body {
        Body::DeviceRemove { .. } | Body::MemberRemove { .. } | Body::InviteRevoke { .. } | Body::Close { .. } => true,
        Body::RoleSet { role, .. } => matches!(role, Role::Editor | Role::Reader),
        _ => false,
    }
}
