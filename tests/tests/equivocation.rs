//! A relay that shows different devices different logs, and a stream that is written twice behind it: noticed by the
//! devices, and proven by what was signed. Two relays that began as copies of one folder stand for the one that lies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lifeos_client_core::client::{Client, RelayWarning};
use lifeos_client_core::protocol::ids::SignPk;
use lifeos_client_core::protocol::log::Statement;
use lifeos_client_core::witness::read_statement;
use lifeos_sync_server::Handle;
use lifeos_tests::world::{World, assert_equal, copy, note, relay_in, sync, titles};
use tempfile::TempDir;

/// Devices in step, and two relays of one key and one past.
struct Scene {
    dir: TempDir,
    laptop: Client,
    tablet: Client,
    one: Handle,
    other: Handle,
}

async fn scene() -> Scene {
    let world = World::new().await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    let World { dir, relay } = world;
    relay.shutdown().await;
    copy(&dir.path().join("relay"), &dir.path().join("twin"));
    let (one, other) = (relay_in(&dir.path().join("relay")).await, relay_in(&dir.path().join("twin")).await);
    laptop.set_relay(&one.url()).unwrap();
    tablet.set_relay(&other.url()).unwrap();
    Scene { dir, laptop, tablet, one, other }
}

/// Writes a note and sends it; then hears what the relay says of its log with the note in it.
async fn write(client: &Client, title: &str) {
    note(client, title, "text\n");
    sync(client).await;
    sync(client).await;
}

fn proof(client: &Client) -> Option<RelayWarning> {
    client.status().unwrap().warnings.into_iter().find(|warning| warning.kind == "equivocation_proven")
}

/// Reads the evidence as anybody could: two statements about one place, both signed by the relay's key.
fn assert_proves(client: &Client, evidence: &str, relay: &SignPk) {
    let bytes: Vec<u8> =
        (0..evidence.len()).step_by(2).map(|at| u8::from_str_radix(&evidence[at..at + 2], 16).unwrap()).collect();
    let split = |at| Some((read_statement(&bytes[..at])?, read_statement(&bytes[at..])?));
    let (first, second): (Statement, Statement) = (1..bytes.len()).find_map(split).expect("two statements");
    first.verify(relay).unwrap();
    second.verify(relay).unwrap();
    assert_eq!(first.space, client.space());
    assert!(first.contradicts(&second), "{first:?} and {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_shows_two_devices_two_logs_is_proven_to_by_both() {
    let Scene { laptop, tablet, one, other: _other, dir: _dir } = scene().await;
    let relay: SignPk = laptop.status().unwrap().relays[0].key.as_ref().unwrap().parse().unwrap();
    write(&laptop, "shown to the laptop").await;
    write(&tablet, "shown to the tablet").await;
    // What comes next carries what the relay signed.
    write(&laptop, "with the laptop's statement").await;
    write(&tablet, "with the tablet's statement").await;
    assert!(proof(&laptop).is_none() && proof(&tablet).is_none(), "neither has heard of the other's log");
    assert_ne!(laptop.status().unwrap().state_code, tablet.status().unwrap().state_code);

    tablet.set_relay(&one.url()).unwrap();
    sync(&tablet).await;
    sync(&laptop).await;
    for client in [&laptop, &tablet] {
        let warning = proof(client).expect("it is told");
        assert!(warning.message.contains("Use another relay"), "{}", warning.message);
        assert_proves(client, &warning.evidence, &relay);
    }
    // Nothing is lost by it.
    sync(&tablet).await;
    assert_eq!(titles(&laptop).len(), 4);
    assert_equal(&[&laptop, &tablet]);
    assert_eq!(laptop.status().unwrap().state_code, tablet.status().unwrap().state_code);
}

/// A thief who copied a home hides behind the relay's two logs; when the logs meet, the fork is everybody's to see.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_written_twice_behind_two_logs_is_proven_and_told() {
    let Scene { laptop, tablet, one, other, dir } = scene().await;
    copy(&dir.path().join("tablet"), &dir.path().join("copy"));
    let copied = Client::open(&dir.path().join("copy")).unwrap();
    copied.set_relay(&one.url()).unwrap();
    write(&tablet, "by the tablet").await;
    write(&copied, "by the copy").await;
    sync(&laptop).await;
    assert_eq!(titles(&laptop), ["by the copy"]);

    laptop.set_relay(&other.url()).unwrap();
    sync(&laptop).await;
    sync(&laptop).await;
    let status = laptop.status().unwrap();
    assert!(status.alarms.iter().any(|alarm| alarm.contains("two copies of the home")), "{:?}", status.alarms);
    // The proof is a record: who never saw the other branch knows it, too.
    sync(&tablet).await;
    let status = tablet.status().unwrap();
    assert!(status.alarms.iter().any(|alarm| alarm.contains("two copies of the home")), "{:?}", status.alarms);
}
