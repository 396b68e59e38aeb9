//! What the records of a space may take, and what nobody can take from those who were there before.
//!
//! ```text
//! 0 %                                             75 %              85 %                        100 %
//! │ everything, within the budget of each member  │ what stewards   │ what keeps a space safe: a │
//! │ and of each invitation                        │ must always say │ share for each device      │
//! ```
//! A device in wrong hands may fill the first two parts, with as many members and devices as it makes up for that. It
//! cannot take the shares of those who were enrolled before: a share is held back for each device in force, in the
//! order in which they came, and those who came later get what that leaves. So whoever was there before the theft can
//! still remove the thief, however full the space is.

use std::collections::HashMap;
use std::sync::Arc;

use lifeos_sync_protocol::ids::{MemberId, RecordId, SignPk};
use lifeos_sync_protocol::limits::SPACE_RECORDS_MAX;
use lifeos_sync_protocol::record::{Body, Record};

use super::View;
use crate::limits::Limits;

/// What the records of a space may take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RecordBudget {
    /// All but the two parts below.
    ordinary: Used,
    /// All but the part of the shares.
    stewards: Used,
    /// All shares.
    shares: Used,
    /// The share of one device.
    share: Used,
    /// Those of one author that have no effect.
    idle: Used,
    /// Those of one member who is neither Owner nor Admin.
    member: Used,
    /// Those of one who is.
    steward: Used,
    /// Devices that a member adds who is neither Owner nor Admin.
    device_adds: usize,
}

/// Records, counted.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    count: usize,
    bytes: u64,
}

impl Used {
    fn with(self, record: &Record) -> Self {
        self.and(Self { count: 1, bytes: record.bytes().len() as u64 })
    }

    const fn and(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), bytes: self.bytes.saturating_add(other.bytes) }
    }

    const fn less(self, other: Self) -> Self {
        Self { count: self.count.saturating_sub(other.count), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    const fn is_within(&self, budget: &Self) -> bool {
        self.count <= budget.count && self.bytes <= budget.bytes
    }

    fn percent(self, percent: u8) -> Self {
        let share = usize::from(percent.min(100));
        Self { count: self.count / 100 * share, bytes: self.bytes / 100 * share as u64 }
    }
}

impl From<&Limits> for RecordBudget {
    fn from(limits: &Limits) -> Self {
        let all = Used { count: SPACE_RECORDS_MAX, bytes: limits.space_record_bytes_max };
        let shares = all.percent(limits.records_shared_percent);
        let devices = limits.record_shares.max(1);
        Self {
            ordinary: all.percent(100_u8.saturating_sub(limits.records_reserved_percent)),
            stewards: all.less(shares),
            shares,
            share: Used { count: shares.count / devices, bytes: shares.bytes / devices as u64 },
            idle: Used { count: limits.author_idle_records_max, bytes: limits.author_idle_record_bytes_max },
            member: Used { count: limits.member_records_max, bytes: limits.member_record_bytes_max },
            steward: Used { count: limits.steward_records_max, bytes: limits.steward_record_bytes_max },
            device_adds: limits.member_device_adds_max,
        }
    }
}

/// The records that are here, as who asks for seniority needs them.
#[derive(Clone, Copy)]
pub(super) struct Arrivals<'a> {
    pub(super) records: &'a [Arc<Record>],
    pub(super) index: &'a HashMap<RecordId, usize>,
}

/// A device's place among all: when the record came that enrolled it.
type Seniority = (usize, SignPk);

impl Arrivals<'_> {
    /// Whose share a device uses, and its place. What a recovery key enrols goes on with the key's share: it comes in
    /// last, to remove those who came before.
    fn holder(&self, device: &SignPk, view: &View) -> Option<Seniority> {
        let devices = &view.membership.devices;
        let came = |key: &SignPk| Some((*self.index.get(&devices.get(key)?.added_by)?, *key));
        let own = came(device)?;
        let adding = self.records.get(own.0)?;
        let is_add = matches!(adding.body(), Body::DeviceAdd { .. });
        let by_recovery = is_add && view.membership.is_recovery_key(&adding.author());
        if by_recovery { came(&adding.author()) } else { Some(own) }
    }
}

/// What one device has used of its share.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    used: Used,
    epochs: usize,
}

/// Which part of the space a record goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// One of the first two.
    Common,
    /// The share of this device.
    Share(SignPk),
}

/// Who has used how much of a [`RecordBudget`].
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    budget: RecordBudget,
    /// What is not in shares.
    common: Used,
    idle: HashMap<SignPk, Used>,
    /// By who pays.
    payers: HashMap<Payer, Used>,
    /// DeviceAdds by the member that wrote them.
    device_adds: HashMap<MemberId, usize>,
    /// By who holds it.
    shares: HashMap<SignPk, Share>,
    /// What is in shares.
    shared: Used,
    /// Of that, what calls for an Epoch.
    removals: usize,
}

impl Ledger {
    pub(super) fn new(budget: RecordBudget) -> Self {
        Self {
            budget,
            common: Used::default(),
            idle: HashMap::new(),
            payers: HashMap::new(),
            device_adds: HashMap::new(),
            shares: HashMap::new(),
            shared: Used::default(),
            removals: 0,
        }
    }

    /// Books a record if there is room for it.
    pub(super) fn admit(&mut self, record: &Record, view: &View, idle: bool, arrivals: Arrivals<'_>) -> bool {
        let part = self.part(record, view, idle, arrivals);
        if let Some(part) = part {
            self.book_in(part, record, view, idle);
        }
        part.is_some()
    }

    /// Books a record that is stored already.
    pub(super) fn book(&mut self, record: &Record, view: &View, idle: bool, arrivals: Arrivals<'_>) {
        let part = self.part(record, view, idle, arrivals).unwrap_or(Part::Common);
        self.book_in(part, record, view, idle);
    }

    fn part(&self, record: &Record, view: &View, idle: bool, arrivals: Arrivals<'_>) -> Option<Part> {
        if self.fits_common(record, view, idle) {
            return Some(Part::Common);
        }
        // What has no effect keeps nobody safe.
        if idle { None } else { self.share_for(record, view, arrivals).map(Part::Share) }
    }

    fn fits_common(&self, record: &Record, view: &View, idle: bool) -> bool {
        let is_steward = view.is_steward(&record.author());
        let all = if is_steward && is_reserved(record.body()) { self.budget.stewards } else { self.budget.ordinary };
        let own = if is_steward { self.budget.steward } else { self.budget.member };
        let used = |used: Option<&Used>| used.copied().unwrap_or_default().with(record);
        self.common.with(record).is_within(&all)
            && (!idle || used(self.idle.get(&record.author())).is_within(&self.budget.idle))
            && used(self.payers.get(&payer(record, view))).is_within(&own)
            && (is_steward || self.may_add_device(record, view))
    }

    fn may_add_device(&self, record: &Record, view: &View) -> bool {
        let added = adder(record, view).and_then(|member| self.device_adds.get(&member));
        added.is_none_or(|added| *added < self.budget.device_adds)
    }

    /// Who holds the share that a record goes into, if it is for that and there is room.
    fn share_for(&self, record: &Record, view: &View, arrivals: Arrivals<'_>) -> Option<SignPk> {
        if !view.membership.is_for_safety(&record.author(), record.body()) {
            return None;
        }
        let holder = arrivals.holder(&record.author(), view)?;
        let own = self.shares.get(&holder.1).copied().unwrap_or_default();
        // An Epoch behind each removal; one more, because the removal may have had room elsewhere.
        let is_due = !matches!(record.body(), Body::Epoch { .. }) || own.epochs <= self.removals;
        let fits = own.used.with(record).is_within(&self.budget.share)
            && self.shared.with(record).and(self.held_back(holder, view, arrivals)).is_within(&self.budget.shares);
        (is_due && fits).then_some(holder.1)
    }

    /// What those who came before have not used of their shares.
    fn held_back(&self, holder: Seniority, view: &View, arrivals: Arrivals<'_>) -> Used {
        let in_force = view.membership.devices.iter().filter(|(_, device)| device.removed_by.is_none());
        let before =
            in_force.filter(|(key, _)| arrivals.holder(key, view).is_some_and(|at| at.1 == **key && at < holder));
        before.fold(Used::default(), |sum, (key, _)| {
            let used = self.shares.get(key).map(|share| share.used).unwrap_or_default();
            sum.and(self.budget.share.less(used))
        })
    }

    fn book_in(&mut self, part: Part, record: &Record, view: &View, idle: bool) {
        match part {
            Part::Common => self.book_common(record, view),
            Part::Share(holder) => self.book_share(holder, record),
        }
        if idle {
            let author = self.idle.entry(record.author()).or_default();
            *author = author.with(record);
        }
    }

    fn book_common(&mut self, record: &Record, view: &View) {
        self.common = self.common.with(record);
        if let Some(member) = adder(record, view) {
            *self.device_adds.entry(member).or_default() += 1;
        }
        let payer = self.payers.entry(payer(record, view)).or_default();
        *payer = payer.with(record);
    }

    fn book_share(&mut self, holder: SignPk, record: &Record) {
        self.shared = self.shared.with(record);
        let share = self.shares.entry(holder).or_default();
        share.used = share.used.with(record);
        match record.body() {
            Body::Epoch { .. } => share.epochs += 1,
            Body::DeviceAdd { .. } => {}
            _ => self.removals += 1,
        }
    }
}

/// Whose budget a record uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Payer {
    Member(MemberId),
    /// Requests to join by one invitation: whoever fills this one up closes no other. Also what those write whom it let
    /// in without anybody's approval: who has a link makes as many members as it lets in, and no more budgets.
    Invite(RecordId),
    /// All authors that are in no membership.
    Strangers,
}

fn payer(record: &Record, view: &View) -> Payer {
    if let Body::Join { invite, .. } = record.body() {
        return Payer::Invite(*invite);
    }
    let Some(author) = view.membership.devices.get(&record.author()) else { return Payer::Strangers };
    view.link_of(&author.member).map_or(Payer::Member(author.member), Payer::Invite)
}

/// The member that adds a device.
fn adder(record: &Record, view: &View) -> Option<MemberId> {
    let author = || view.membership.devices.get(&record.author()).map(|device| device.member);
    if let Body::DeviceAdd { .. } = record.body() { author() } else { None }
}

/// What Owners and Admins must be able to say when the space is full for everybody else.
const fn is_reserved(body: &Body) -> bool {
    matches!(
        body,
        Body::DeviceRemove { .. }
            | Body::MemberRemove { .. }
            | Body::RoleSet { .. }
            | Body::Epoch { .. }
            | Body::KeyGrant { .. }
            | Body::InviteRevoke { .. }
            | Body::Close { .. }
    )
}
