//! What a relay signs about its log, and what that proves.

use lifeos_sync_protocol::frame::Frame;
use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::log::Statement;

use crate::fixture::{Client, Space, relay};

async fn statement(client: &mut Client, session: u32) -> Statement {
    Statement::from_frame(client.ask(&Frame::LogStatementWant { session }).await).expect("a statement")
}

#[tokio::test]
async fn a_statement_is_about_the_whole_log_and_signed_by_the_relay() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    client.push(session, space.stream(&space.founder, 1).seal_many(3)).await;
    let said = statement(&mut client, session).await;
    said.verify(&relay.relay_key()).unwrap();
    assert_eq!((said.space, said.log), (space.id, client.open(session, None).await.0));
    assert_eq!(said.rec_heads, [space.records.last().unwrap().id()]);

    // Nobody else said it, and the relay said nothing else.
    assert!(said.verify(&SignPk([2; 32])).is_err() && said.verify(&space.founder.pk).is_err());
    let mut later = said.clone();
    later.time_ms += 1;
    assert!(later.verify(&relay.relay_key()).is_err());
    later = said.clone();
    later.log.pos += 1;
    assert!(later.verify(&relay.relay_key()).is_err());
    space.enrol(2);
    later = said;
    later.rec_heads.push(space.records.last().unwrap().id());
    assert!(later.verify(&relay.relay_key()).is_err());
}

on_a_folder_only! {
    #[tokio::test]
    async fn two_statements_prove_that_a_relay_shows_two_logs() {
        use lifeos_sync_protocol::frame::PushStatus;

        let (relay, dir) = relay().await;
        let space = Space::new(1);
        Client::found(&relay, &space).await;
        relay.shutdown().await;
        let twin = tempfile::tempdir().unwrap();
        lifeos_sync_server::backup(dir.path(), &twin.path().join("relay.db")).unwrap();
        std::fs::copy(dir.path().join("relay.key"), twin.path().join("relay.key")).unwrap();
        let mut statements = Vec::new();
        for (folder, r32) in [(&dir, 1), (&twin, 2)] {
            let relay = lifeos_sync_server::Server::start(crate::place::local(folder.path())).await.unwrap();
            let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
            let before = statement(&mut client, session).await;
            let results = client.push(session, space.stream(&space.founder, r32).seal_many(1)).await;
            assert_eq!(results[0].status, PushStatus::Ok);
            let after = statement(&mut client, session).await;
            // The accepted twin: a log that grows contradicts nothing.
            assert!(!before.contradicts(&after));
            before.verify(&relay.relay_key()).unwrap();
            after.verify(&relay.relay_key()).unwrap();
            statements.push((before, after));
        }
        assert!(!statements[0].0.contradicts(&statements[1].0), "they began as one log");
        assert!(statements[0].1.contradicts(&statements[1].1));
    }
}

#[tokio::test]
async fn a_statement_comes_after_open() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    Client::found(&relay, &space).await;
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &space.founder).await;
    let answer = client.ask(&Frame::LogStatementWant { session }).await;
    assert!(matches!(answer, Frame::Error { fatal: false, .. }), "{answer:?}");
}
