//! A relay (or whoever sits before it) that spoils frames: the client answers with a typed error or takes nothing,
//! never panics, never loses or doubles anything, and converges as soon as an honest relay is reached.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use lifeos_client_core::client::Client;
use lifeos_tests::middle::{Harm, Middle};
use lifeos_tests::world::{World, note, sync, titles};

fn add(client: &Client, title: &str) {
    note(client, title, &format!("text of {title}\n").repeat(8));
}

const HARMS: [Harm; 15] = [
    Harm::None,
    Harm::FlipEnd { back: 0 },
    Harm::FlipEnd { back: 30 },
    Harm::FlipEnd { back: 60 },
    Harm::Flip { at: 0 },
    Harm::Flip { at: 9 },
    Harm::Flip { at: 333 },
    Harm::Flip { at: 666 },
    Harm::Flip { at: 999 },
    Harm::Truncate,
    Harm::Empty,
    Harm::Garbage,
    Harm::Replay,
    Harm::Oversize,
    Harm::Text,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_spoilt_frame_is_refused_and_nothing_is_lost() {
    let world = World::new().await;
    let (one, [two]) = world.devices(["two"]).await;
    let relay = &world.relay;
    // One address for good, so that what this device remembers of the relay, its cursor above all, outlives each case.
    let middle = Middle::start(relay.addr()).await;
    two.set_relay(&format!("ws://{}#{}", middle.addr, relay.relay_key())).unwrap();
    sync(&two).await;
    let (mut cases, mut harmed, mut refused) = (0_usize, 0_usize, 0_usize);
    // The frames of one round are: challenge, welcome, state, records, items, acknowledgements.
    for nth in 0..7 {
        for harm in HARMS {
            cases += 1;
            add(&one, &format!("case {nth} {harm:?}"));
            add(&two, &format!("answer {nth} {harm:?}"));
            sync(&one).await;
            middle.spoil(nth, harm);
            let outcome = tokio::time::timeout(Duration::from_secs(40), two.sync(&mut |_| {})).await;
            let outcome = outcome.unwrap_or_else(|_| panic!("frame {nth} {harm:?}: the client hangs"));
            if harm == Harm::None {
                outcome.as_ref().unwrap_or_else(|error| panic!("the unspoilt twin of frame {nth} fails: {error}"));
            }
            refused += usize::from(outcome.is_err());
            harmed += middle.harmed();
            middle.spoil(0, Harm::None);
            two.sync(&mut |_| {}).await.unwrap_or_else(|error| panic!("after frame {nth} {harm:?}: {error}"));
            sync(&one).await;
            assert_eq!(one.heads().unwrap(), two.heads().unwrap(), "after frame {nth} {harm:?} the devices differ");
        }
    }
    assert_eq!(one.projection_digest().unwrap(), two.projection_digest().unwrap());
    assert_eq!(titles(&two).len(), cases * 2, "notes were lost or doubled");
    assert!(harmed > cases / 2, "only {harmed} of {cases} rounds reached the frame: the check is blind");
    assert!(refused > harmed / 3, "only {refused} of {harmed} spoilt frames were noticed");
    world.relay.shutdown().await;
}
