//! Rendezvous mailboxes without authentication.

use lifeos_sync_protocol::frame::{ErrorCode, Frame};
use lifeos_sync_protocol::ids::RdvId;

use crate::fixture::{Client, relay};

const RDV: RdvId = RdvId([3; 16]);

#[tokio::test]
async fn two_devices_that_share_nothing_exchange_messages() {
    let (relay, _dir) = relay().await;
    let mut new = Client::connect(&relay).await;
    let mut existing = Client::connect(&relay).await;
    let done = Frame::RdvItem { rdv: RDV, index: 0, message: None };
    assert_eq!(new.ask(&Frame::RdvCreate { rdv: RDV, ttl_s: 60 }).await, done);
    // The wait begins before the message is there, and the connection can go on meanwhile.
    let waiting = new.send(&Frame::RdvGet { rdv: RDV, index: 0 }).await;
    assert_eq!(new.ask(&Frame::Ping { payload: 9 }).await, Frame::Pong { payload: 9 });
    assert_eq!(existing.ask(&Frame::RdvPut { rdv: RDV, message: b"hello".to_vec() }).await, done);
    let message = Frame::RdvItem { rdv: RDV, index: 0, message: Some(b"hello".to_vec()) };
    assert_eq!(new.answer(waiting).await, message);

    assert_eq!(new.ask(&Frame::RdvDrop { rdv: RDV }).await, done);
    let gone = existing.ask(&Frame::RdvGet { rdv: RDV, index: 0 }).await;
    assert!(matches!(gone, Frame::Error { code: ErrorCode::NoMailbox, fatal: false, .. }));
}

#[tokio::test]
async fn a_mailbox_comes_after_the_challenge() {
    let (relay, _dir) = relay().await;
    let mut client = Client::dial(&relay).await;
    client.send(&Frame::RdvCreate { rdv: RDV, ttl_s: 60 }).await;
    assert_eq!(client.last_words().await, Some(ErrorCode::Unexpected));
}

#[tokio::test]
async fn who_does_not_know_the_id_of_a_mailbox_neither_reads_nor_writes_it() {
    let (relay, _dir) = relay().await;
    let mut owner = Client::connect(&relay).await;
    let mut stranger = Client::connect(&relay).await;
    owner.ask(&Frame::RdvCreate { rdv: RDV, ttl_s: 60 }).await;
    owner.ask(&Frame::RdvPut { rdv: RDV, message: b"for one".to_vec() }).await;
    let no_mailbox = |answer: &Frame| matches!(answer, Frame::Error { code: ErrorCode::NoMailbox, fatal: false, .. });
    // Every id that differs in one bit, and those a fool would try: none waits, none answers with anything else.
    let near = (0..128).map(|bit| {
        let mut id = RDV.0;
        id[bit / 8] ^= 1 << (bit % 8);
        id
    });
    for id in near.chain([[0; 16], [0xff; 16]]) {
        let rdv = RdvId(id);
        for frame in [Frame::RdvGet { rdv, index: 0 }, Frame::RdvDrop { rdv }] {
            let answer = stranger.ask(&frame).await;
            assert!(no_mailbox(&answer), "{id:?}: {answer:?}");
        }
        let answer = stranger.ask(&Frame::RdvPut { rdv, message: b"not asked for".to_vec() }).await;
        assert!(no_mailbox(&answer), "{id:?}: {answer:?}");
    }
    // Nor is the id to be had by asking for it anew: the mailbox is there, and says no more than that.
    let answer = stranger.ask(&Frame::RdvCreate { rdv: RDV, ttl_s: 60 }).await;
    assert!(matches!(answer, Frame::Error { code: ErrorCode::MailboxRefused, .. }), "{answer:?}");
    let message = Frame::RdvItem { rdv: RDV, index: 0, message: Some(b"for one".to_vec()) };
    assert_eq!(owner.ask(&Frame::RdvGet { rdv: RDV, index: 0 }).await, message);
}
