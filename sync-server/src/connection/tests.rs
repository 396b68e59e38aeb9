//! A connection without a socket: what it holds to where nothing else would come to its aid.

use std::net::{IpAddr, Ipv4Addr};

use lifeos_sync_protocol::ids::{HpkePk, MemberId, RecordId, SignPk};
use lifeos_sync_protocol::membership::{Device, Membership};
use lifeos_sync_protocol::record::DeviceKind;
use tempfile::TempDir;

use super::*;
use crate::space::{Space, View};
use crate::{Config, Handle, Limits, Server};

pub(super) const DEVICE: SignPk = SignPk([1; 32]);

pub(super) async fn relay(limits: Limits) -> (Handle, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { limits, ..Config::local(dir.path()) };
    (Server::start(config).await.unwrap(), dir)
}

/// A connection with session 1 of the device, in a space where nobody is enrolled.
pub(super) fn in_session(relay: &Arc<Relay>) -> (Connection, Arc<Space>) {
    let peer = Peer::enter(relay, IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
    let mut connection = Connection::new(Arc::clone(relay), peer, Outgoing::new(&relay.limits));
    let space = Space::bare(1);
    connection.sessions.insert(1, Session::new(space.id, DEVICE, Arc::clone(relay)));
    connection.attach(1, Arc::clone(&space)).unwrap();
    (connection, space)
}

fn code<T>(result: Result<T, Refusal>) -> Option<(ErrorCode, bool)> {
    result.err().map(|refusal| (refusal.code, refusal.fatal))
}

/// A removal ends the sessions that are there. One that was admitted before it and begins behind it is not among them.
#[tokio::test]
async fn a_session_that_begins_behind_the_removal_of_its_device_reads_nothing() {
    let (handle, _dir) = relay(Limits::default()).await;
    let (mut connection, space) = in_session(handle.relay());
    let removed = Some((ErrorCode::Removed, true));
    let (rec_heads, ids, heads) = (Vec::new(), Vec::new(), Vec::new());
    let wanted = Frame::RecWant { session: 1, ids, heads };
    for frame in [Frame::Open { session: 1, rec_heads, cursor: None }, wanted] {
        assert_eq!(code(connection.in_session(7, frame).await), removed);
    }
    assert_eq!(code(connection.records(7, 1, Vec::new()).await), removed);
    assert_eq!((code(connection.space(1)), code(connection.opened(1))), (removed, removed));
    // The accepted twin: once it is enrolled.
    let mut membership = Membership::empty(space.id, [0; 32]);
    let device = Device::enrolled(MemberId([1; 16]), HpkePk([0; 32]), DeviceKind::Normal, RecordId::ZERO);
    membership.devices.insert(DEVICE, device);
    space.put_in_force(Arc::new(View::new(membership)), &[], None);
    assert!(connection.space(1).is_ok() && connection.member(1).is_ok());
}

#[tokio::test]
async fn a_session_that_was_never_made_is_none_wherever_it_is_asked_for() {
    let (handle, _dir) = relay(Limits::default()).await;
    let (mut connection, _) = in_session(handle.relay());
    let none = Some((ErrorCode::Unexpected, true));
    assert_eq!(code(connection.session(2)), none);
    assert_eq!(code(connection.space(2)), none);
    assert_eq!(code(connection.opened(2)), none);
    assert_eq!(code(connection.member(2)), none);
}
