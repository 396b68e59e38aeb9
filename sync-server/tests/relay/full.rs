//! What a space that is full of records still takes, and from whom.

use lifeos_sync_protocol::frame::{PushStatus, RecordStatus};
use lifeos_sync_protocol::ids::{MemberId, SignPk};
use lifeos_sync_protocol::record::{Body, RemoveReason, Role};
use lifeos_sync_server::{Limits, Server};
use tempfile::TempDir;

use crate::fixture::{Client, Device, Space, relay_with};
use crate::place::local;

/// Room for 150,000 bytes of anything, 20,000 of what stewards must say, and 30,000 of shares.
const BYTES_MAX: u64 = 200_000;
const FOUNDERS: MemberId = MemberId([1; 16]);
const EDITORS: MemberId = MemberId([8; 16]);
const READERS: MemberId = MemberId([9; 16]);

fn limits(record_shares: usize) -> Limits {
    Limits { space_record_bytes_max: BYTES_MAX, record_shares, ..Limits::default() }
}

fn remove(device: SignPk) -> Body {
    Body::DeviceRemove { device, reason: RemoveReason::Compromised, cuts: Vec::new() }
}

fn invite(serial: u8) -> Body {
    let (role, expires_ms, uses_max, auto_seal) = (Role::Reader, u64::MAX, 1, None);
    Body::Invite { invite_pk: Device::new(serial).pk, role, expires_ms, uses_max, auto_seal }
}

/// Rules that say nothing and take some 200 bytes for each relay.
fn rules(serial: u64, relays: usize) -> Body {
    let relays = (0..relays).map(|at| format!("wss://{serial:0>160}-{at}.example")).collect();
    Body::Policy { rotation_days: 90, grace_days: 7, endorse_k: 1, relays }
}

/// Fills by `device`, who is a steward, first what is for everything, then what is for stewards.
async fn fill(client: &mut Client, session: u32, space: &mut Space, device: &Device) {
    let mut serial = 0;
    for relays in [16, 4, 0] {
        while client.write(session, space, device, &rules(serial, relays)).await == RecordStatus::Ok {
            serial += 1;
            assert!(serial < 1_000, "no limit");
        }
    }
    let grant_up = Body::RoleSet { member: FOUNDERS, role: Role::Owner, cuts: Vec::new() };
    loop {
        let epoch = space.next_epoch();
        if client.write(session, space, device, &epoch).await != RecordStatus::Ok {
            break;
        }
    }
    while client.write(session, space, device, &grant_up).await == RecordStatus::Ok {}
}

async fn restarted(dir: &TempDir, limits: Limits) -> lifeos_sync_server::Handle {
    let mut config = local(dir.path());
    config.limits = limits;
    Server::start(config).await.unwrap()
}

#[tokio::test]
async fn a_space_full_of_records_still_takes_an_epoch_of_its_owner() {
    let (relay, _dir) = relay_with(limits(4)).await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let founder = Device::new(1);
    let mut serial = 0;
    for relays in [16, 4, 0] {
        while client.write(session, &mut space, &founder, &rules(serial, relays)).await == RecordStatus::Ok {
            serial += 1;
        }
    }
    assert!(serial > 20, "{serial}: full from the beginning");
    assert_eq!(client.write(session, &mut space, &founder, &invite(60)).await, RecordStatus::Refused);
    space.rotate();
    assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
    assert_eq!(client.push(session, space.stream(&founder, 1).seal_many(1)).await[0].status, PushStatus::Ok);
}

/// A stolen device of an Owner writes what it may until nothing of it is taken any more, with as many devices as it
/// makes up for that.
#[tokio::test]
async fn a_thief_cannot_fill_what_its_own_removal_needs() {
    let (relay, dir) = relay_with(limits(4)).await;
    let mut space = Space::new(1);
    let thief = space.enrol(2);
    Client::found(&relay, &space).await;
    let (mut stolen, session) = Client::join(&relay, &space, &thief).await;
    let made_up: Vec<Device> = (130..170).map(Device::new).collect();
    for device in &made_up {
        let added = space.add_own(&thief, FOUNDERS, device);
        assert_eq!(stolen.bring(session, &added).await, RecordStatus::Ok);
        space.records.push(added);
    }
    fill(&mut stolen, session, &mut space, &thief).await;
    // Then its share, and the shares that it made up.
    let mut left = made_up;
    let mut removed = 0;
    while let Some(last) = left.pop() {
        let authors = std::iter::once(&thief).chain(&left);
        let mut is_taken = false;
        for author in authors {
            is_taken |= stolen.write(session, &mut space, author, &remove(last.pk)).await == RecordStatus::Ok;
            let epoch = space.next_epoch();
            stolen.write(session, &mut space, author, &epoch).await;
            if is_taken {
                break;
            }
        }
        removed += usize::from(is_taken);
        if !is_taken {
            break;
        }
    }
    assert!(removed > 0 && !left.is_empty(), "{removed} removed, {} left: nothing was used up", left.len());

    // It is no different for a relay that reads all this from its disk.
    relay.shutdown().await;
    let relay = restarted(&dir, limits(4)).await;
    let founder = Device::new(1);
    let (mut client, session) = Client::join(&relay, &space, &founder).await;
    assert_eq!(client.write(session, &mut space, &founder, &invite(61)).await, RecordStatus::Refused);
    assert_eq!(client.write(session, &mut space, &founder, &remove(thief.pk)).await, RecordStatus::Ok);
    space.rotate();
    assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
    assert_eq!(client.push(session, space.stream(&founder, 1).seal_many(1)).await[0].status, PushStatus::Ok);
}

#[tokio::test]
async fn in_a_full_space_everybody_can_remove_what_is_theirs_and_a_paper_key_begins_anew() {
    let (relay, _dir) = relay_with(limits(8)).await;
    let mut space = Space::new(1);
    let editor = space.admit(50, EDITORS, Role::Editor);
    let reader = space.admit(51, READERS, Role::Reader);
    let (editors, readers) = (Device::new(52), Device::new(53));
    space.records.push(space.add_own(&editor, EDITORS, &editors));
    space.records.push(space.add_own(&reader, READERS, &readers));
    let (mut client, session) = Client::found(&relay, &space).await;
    let founder = Device::new(1);
    fill(&mut client, session, &mut space, &founder).await;

    // A member removes others' devices with the same words; who may not is refused for that reason alone.
    let (mut reading, session) = Client::join(&relay, &space, &reader).await;
    let refused = space.add_own(&reader, READERS, &Device::new(54));
    assert_eq!(reading.bring(session, &refused).await, RecordStatus::Refused);
    assert_eq!(reading.write(session, &mut space, &reader, &remove(readers.pk)).await, RecordStatus::Ok);
    let (mut editing, session) = Client::join(&relay, &space, &editor).await;
    let epoch = space.next_epoch();
    assert_eq!(editing.write(session, &mut space, &editor, &epoch).await, RecordStatus::Ok);
    assert_eq!(editing.write(session, &mut space, &editor, &remove(editors.pk)).await, RecordStatus::Ok);

    // The founder's devices are lost: the words bring in another one, and remove what was lost.
    let (recovery, new) = (space.recovery(), Device::new(55));
    let (mut recovering, session) = Client::join(&relay, &space, &recovery).await;
    let added = space.add_own(&recovery, FOUNDERS, &new);
    assert_eq!(recovering.bring(session, &added).await, RecordStatus::Ok);
    space.records.push(added);
    assert_eq!(recovering.write(session, &mut space, &recovery, &remove(founder.pk)).await, RecordStatus::Ok);
    let epoch = space.next_epoch();
    assert_eq!(recovering.write(session, &mut space, &new, &epoch).await, RecordStatus::Ok);
    let member = Body::MemberRemove { member: READERS, reason: RemoveReason::Left, cuts: Vec::new() };
    assert_eq!(recovering.write(session, &mut space, &new, &member).await, RecordStatus::Ok);
}

#[tokio::test]
async fn what_a_paper_key_brings_into_a_full_space_goes_on_with_its_share() {
    // One for the founder's first device and one for the paper key: none is left for those that come later.
    let (relay, _dir) = relay_with(limits(2)).await;
    let mut space = Space::new(1);
    let second = space.enrol(2);
    let (mut client, session) = Client::found(&relay, &space).await;
    let (founder, recovery, new) = (Device::new(1), space.recovery(), Device::new(55));
    fill(&mut client, session, &mut space, &founder).await;
    let (mut recovering, session) = Client::join(&relay, &space, &recovery).await;
    let added = space.add_own(&recovery, FOUNDERS, &new);
    assert_eq!(recovering.bring(session, &added).await, RecordStatus::Ok);
    space.records.push(added);
    for lost in [founder, second] {
        assert_eq!(recovering.write(session, &mut space, &new, &remove(lost.pk)).await, RecordStatus::Ok);
    }
    let epoch = space.next_epoch();
    assert_eq!(recovering.write(session, &mut space, &new, &epoch).await, RecordStatus::Ok);
}

#[tokio::test]
async fn an_owner_has_a_budget_too_and_removes_beyond_it() {
    let (relay, _dir) = relay_with(Limits { steward_records_max: 8, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let other = space.admit(50, EDITORS, Role::Owner);
    let lost = space.enrol(2);
    let (mut client, session) = Client::found(&relay, &space).await;
    let founder = Device::new(1);
    let mut written = 0;
    while client.write(session, &mut space, &founder, &invite(60 + written)).await == RecordStatus::Ok {
        written += 1;
    }
    assert_eq!(written, 4, "beside the Genesis, an Epoch and two that let others in");
    let (mut others, session) = Client::join(&relay, &space, &other).await;
    assert_eq!(others.write(session, &mut space, &other, &invite(90)).await, RecordStatus::Ok);
    assert_eq!(others.write(session, &mut space, &founder, &remove(lost.pk)).await, RecordStatus::Ok);
    let epoch = space.next_epoch();
    assert_eq!(others.write(session, &mut space, &founder, &epoch).await, RecordStatus::Ok);
}

#[tokio::test]
async fn a_share_has_an_epoch_for_each_removal_and_one_more_and_is_one_devices() {
    // Shares of three records each.
    let limits = Limits { steward_records_max: 8, record_shares: 800, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let mut space = Space::new(1);
    let second = space.enrol(2);
    let lost = [3, 4].map(|seed| space.enrol(seed));
    let (mut client, session) = Client::found(&relay, &space).await;
    let founder = Device::new(1);
    for serial in 0..3 {
        assert_eq!(client.write(session, &mut space, &founder, &invite(60 + serial)).await, RecordStatus::Ok);
    }
    assert_eq!(client.write(session, &mut space, &founder, &invite(63)).await, RecordStatus::Refused, "used up");
    for (is_removal, expected) in
        [(false, RecordStatus::Ok), (false, RecordStatus::Refused), (true, RecordStatus::Ok), (false, RecordStatus::Ok)]
    {
        let body = if is_removal { remove(lost[0].pk) } else { space.next_epoch() };
        assert_eq!(client.write(session, &mut space, &founder, &body).await, expected);
    }
    // That was the whole share; the next device has its own.
    assert_eq!(client.write(session, &mut space, &founder, &remove(lost[1].pk)).await, RecordStatus::Refused);
    assert_eq!(client.write(session, &mut space, &second, &remove(lost[1].pk)).await, RecordStatus::Ok);
}
