//! Bundles: what a relay would carry goes from device to device in a file, under the same rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use lifeos_client_core::bundle::{BundleReader, BundleWriter, Part};
use lifeos_client_core::client::{BundleBase, BundleExport, BundleImport, Client, ClientError};
use lifeos_client_core::protocol::envelope::Envelope;
use lifeos_client_core::protocol::record::RemoveReason;
use lifeos_tests::world::{World, assert_equal, note, sync, sync_each, titled, titles, try_sync};

fn export(client: &Client, file: &Path, base: &BundleBase) -> BundleExport {
    client.export_bundle(file, base, &mut |_| {}).unwrap()
}

fn try_import(client: &Client, file: &Path) -> Result<BundleImport, ClientError> {
    client.import_bundle(file, &mut |_| {})
}

fn import(client: &Client, file: &Path) -> BundleImport {
    try_import(client, file).unwrap()
}

/// Records and envelopes of a bundle that is whole.
fn parts(file: &Path) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut reader = BundleReader::open(fs::File::open(file).unwrap()).unwrap();
    let (mut records, mut envelopes) = (Vec::new(), Vec::new());
    while let Some(part) = reader.next_part().unwrap() {
        match part {
            Part::Records(some) => records.extend(some),
            Part::Envelopes(some) => envelopes.extend(some),
        }
    }
    (records, envelopes)
}

/// A whole bundle of the same space with these records and envelopes, as anybody can write one.
fn rewritten(file: &Path, records: Vec<Vec<u8>>, envelopes: &[Vec<u8>]) -> PathBuf {
    let reader = BundleReader::open(fs::File::open(file).unwrap()).unwrap();
    let changed = file.with_extension("changed");
    let out = fs::File::create(&changed).unwrap();
    let mut writer = BundleWriter::begin(out, &reader.space(), reader.streams().to_vec()).unwrap();
    writer.records(records).unwrap();
    envelopes.chunks(64).for_each(|page| writer.envelopes(page.to_vec()).unwrap());
    writer.finish().unwrap();
    changed
}

/// The same for the envelopes alone.
fn altered(file: &Path, alter: impl FnOnce(&mut Vec<Vec<u8>>)) -> PathBuf {
    let (records, mut envelopes) = parts(file);
    alter(&mut envelopes);
    rewritten(file, records, &envelopes)
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_carries_notes_both_ways_without_a_relay_and_the_next_sync_gives_them_to_it() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    let (there, back) = (world.home("there"), world.home("back"));
    let id = note(&laptop, "Canary title", "canary text\n");
    let exported = export(&laptop, &there, &BundleBase::Nothing);
    assert_eq!((exported.changes_pending, exported.unsealed), (0, None));
    assert_eq!(exported.bytes, fs::metadata(&there).unwrap().len());
    let bytes = fs::read(&there).unwrap();
    assert!(!contains(&bytes, "Canary") && !contains(&bytes, "canary"), "nothing readable");

    let imported = import(&phone, &there);
    assert!(imported.received > 0 && imported.documents_changed > 0, "{imported:?}");
    assert_eq!((imported.quarantined, imported.passed_over), (0, 0));
    assert_eq!(titles(&phone), ["Canary title"]);
    let again = import(&phone, &there);
    assert_eq!((again.received, again.documents_changed, again.records), (0, 0, 0), "nothing changes");

    phone.note_set_title(&id, "Canary title of the phone").unwrap();
    titled(&phone, "Phone");
    export(&phone, &back, &BundleBase::Nothing);
    import(&laptop, &back);
    assert_equal(&[&laptop, &phone]);

    // The laptop stays away: the relay gets its envelopes from the phone.
    assert!(sync(&phone).await.given > 0);
    sync(&tablet).await;
    assert_eq!(titles(&tablet), ["Canary title of the phone", "Phone"]);
    assert_equal(&[&laptop, &phone, &tablet]);
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_equal(&[&laptop, &phone, &tablet]);
    for client in [&laptop, &phone, &tablet] {
        let status = client.status().unwrap();
        assert!(status.warnings.is_empty() && status.missing.is_empty() && status.quarantine.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_bundle_leaves_out_what_an_earlier_one_holds_or_a_device_has_confirmed() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let file = |name: &str| world.home(name);
    (0..5).for_each(|number| drop(titled(&laptop, &format!("early {number}"))));
    let first = export(&laptop, &file("first"), &BundleBase::Nothing);
    import(&phone, &file("first"));
    titled(&laptop, "late");
    let second = export(&laptop, &file("second"), &BundleBase::Bundle(file("first")));
    assert_eq!((second.envelopes, second.left_out), (1, first.envelopes));
    titled(&laptop, "latest");
    let third = export(&laptop, &file("third"), &BundleBase::Bundle(file("second")));
    assert_eq!(third.envelopes, 1, "what the second goes to, the first and the second hold");
    // Without the second, the third has nothing to follow; with it, it has.
    let early = import(&phone, &file("third"));
    assert_eq!((early.received, early.passed_over), (0, 1));
    import(&phone, &file("second"));
    assert_eq!(import(&phone, &file("third")).received, 1);
    assert_equal(&[&laptop, &phone]);

    sync_each(&[&laptop, &phone]).await;
    titled(&laptop, "unconfirmed");
    let small = export(&laptop, &file("small"), &BundleBase::Device("phone".to_owned()));
    assert_eq!(small.envelopes, 1, "{small:?}");
    import(&phone, &file("small"));
    assert_equal(&[&laptop, &phone]);

    let damaged = file("first").with_extension("cut");
    let bytes = fs::read(file("first")).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
    let refused = laptop.export_bundle(&file("x"), &BundleBase::Bundle(damaged), &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("earlier bundle"), "{refused}");
    assert!(!file("x").exists() && !file("x.part").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_cut_gives_what_is_there_and_the_whole_one_gives_the_rest() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    (0..40).for_each(|number| {
        titled(&laptop, &format!("note {number}"));
        export(&laptop, &world.home("bundle"), &BundleBase::Nothing);
    });
    let (records, envelopes) = parts(&world.home("bundle"));
    let pages: Vec<Vec<u8>> = envelopes.clone();
    // Small frames, so that a cut leaves some of them whole.
    let reader = BundleReader::open(fs::File::open(world.home("bundle")).unwrap()).unwrap();
    let mut writer = BundleWriter::begin(Vec::new(), &reader.space(), reader.streams().to_vec()).unwrap();
    writer.records(records).unwrap();
    pages.into_iter().for_each(|envelope| writer.envelopes(vec![envelope]).unwrap());
    let whole = writer.finish().unwrap().0;
    let cut = world.home("cut");
    let mut held = 0;
    for part in [1, 2, 3] {
        fs::write(&cut, &whole[..whole.len() * part / 4]).unwrap();
        let refused = try_import(&phone, &cut).unwrap_err();
        assert!(refused.to_string().contains("cut short"), "{refused}");
        let now = titles(&phone).len();
        assert!(now >= held, "never less");
        held = now;
    }
    assert!(held > 0 && held < 40, "{held}");
    fs::write(&cut, &whole).unwrap();
    import(&phone, &cut);
    assert_equal(&[&laptop, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_envelope_costs_itself_and_what_follows_it_alone() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    for client in [&laptop, &phone] {
        for number in 0..4 {
            titled(client, &format!("{} {number}", client.device()));
            export(client, &world.home("sealed"), &BundleBase::Nothing);
        }
    }
    export(&phone, &world.home("of phone"), &BundleBase::Nothing);
    import(&laptop, &world.home("of phone"));
    let file = world.home("bundle");
    export(&laptop, &file, &BundleBase::Nothing);
    let stream_of = |bytes: &[u8]| Envelope::parse(bytes.to_vec()).unwrap().header().stream;
    let (_, envelopes) = parts(&file);
    // The last but one of a stream of which the tablet lacks four.
    export(&tablet, &world.home("of tablet"), &BundleBase::Nothing);
    let (_, held) = parts(&world.home("of tablet"));
    let count = |of: &[Vec<u8>], stream| of.iter().filter(|bytes| stream_of(bytes) == stream).count();
    let lacks_four = |bytes: &Vec<u8>| count(&envelopes, stream_of(bytes)) >= count(&held, stream_of(bytes)) + 4;
    let last = envelopes.iter().rposition(lacks_four).unwrap();
    type Spoil = fn(&mut Vec<Vec<u8>>, usize);
    let spoils: [(Spoil, u64); 4] = [
        (|envelopes, last| envelopes[last - 1] = b"no envelope".to_vec(), 2),
        (|envelopes, last| envelopes[last - 1][120] ^= 1, 2),
        (|envelopes, last| drop(envelopes.remove(last - 1)), 1),
        (|envelopes, last| *envelopes[last].last_mut().unwrap() ^= 1, 1),
    ];
    for (number, (spoil, passed_over)) in spoils.into_iter().enumerate() {
        let imported = import(&tablet, &altered(&file, |envelopes| spoil(envelopes, last)));
        assert_eq!(imported.passed_over, passed_over, "{number}");
        assert_eq!(imported.quarantined, 0, "what nobody signed is not kept");
        assert_eq!(imported.received > 0, [true, false, false, true][number], "{number}");
    }
    assert_eq!(titles(&tablet).len(), 7);
    assert!(tablet.status().unwrap().quarantine.is_empty());
    let whole = import(&tablet, &file);
    assert_eq!((whole.received, whole.passed_over), (1, 0));
    assert_equal(&[&laptop, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_put_into_a_bundle_fills_nobodys_home() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let stranger = world.person("Eve");
    titled(&laptop, "mine");
    titled(&stranger, "theirs");
    let (mine, theirs) = (world.home("mine"), world.home("theirs"));
    export(&laptop, &mine, &BundleBase::Nothing);
    export(&stranger, &theirs, &BundleBase::Nothing);
    assert!(matches!(try_import(&phone, &theirs), Err(ClientError::NotFound { .. })));

    // Under the name of a space that is here: envelopes of nobody, and records of another space.
    let (records, envelopes) = parts(&theirs);
    let foreign = envelopes.len() as u64;
    let with_envelopes = altered(&mine, |own| own.splice(0..0, envelopes.into_iter()).for_each(drop));
    let imported = import(&phone, &with_envelopes);
    assert_eq!((imported.passed_over, imported.quarantined), (foreign, 0));
    assert_eq!(titles(&phone), ["mine"]);
    let (own_records, own_envelopes) = parts(&mine);
    let mixed = rewritten(&mine, [records.clone(), own_records].concat(), &own_envelopes);
    assert_eq!(import(&phone, &mixed).passed_over, records.len() as u64);
    assert!(phone.status().unwrap().quarantine.is_empty());
    assert_equal(&[&laptop, &phone]);
    assert!(matches!(
        stranger.export_bundle(&world.home("x"), &BundleBase::Bundle(mine), &mut |_| {}),
        Err(ClientError::Invalid { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_travels_in_a_bundle_and_counts_there_as_at_a_relay() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&phone, "before");
    sync_each(&[&laptop, &phone, &tablet]).await;
    let (late, news) = (world.home("late"), world.home("news"));
    // The phone is removed, and writes on where no relay sees it.
    titled(&phone, "after");
    export(&phone, &late, &BundleBase::Nothing);
    laptop.device_remove(&phone.device().to_string(), RemoveReason::Lost).await.unwrap();
    titled(&laptop, "among us");
    export(&laptop, &news, &BundleBase::Nothing);

    assert!(import(&tablet, &news).records > 0);
    assert_eq!(titles(&tablet), ["among us", "before"]);
    let set_aside = import(&tablet, &late);
    assert!(set_aside.quarantined > 0, "{set_aside:?}");
    assert_eq!(titles(&tablet), ["among us", "before"]);
    // Both orders end alike, and what lies beyond the cut is not handed on.
    import(&laptop, &late);
    let (before, after) = (parts(&news).1, world.home("again"));
    export(&tablet, &after, &BundleBase::Nothing);
    assert_eq!(parts(&after).1.len(), before.len());
    assert_equal(&[&laptop, &tablet]);

    let refused = try_import(&phone, &news).unwrap_err();
    assert!(matches!(refused, ClientError::Security { .. }) && refused.to_string().contains("removed"), "{refused}");
    assert_eq!(titles(&phone), ["after", "before"], "what it has stays, and nothing newer comes");
    let refused = phone.export_bundle(&world.home("x"), &BundleBase::Nothing, &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("removed"), "{refused}");
    assert!(try_sync(&phone).await.is_err());
    sync_each(&[&laptop, &tablet]).await;
    assert_equal(&[&laptop, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_any_space_finds_its_own_and_one_process_at_a_time_carries() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let shared = laptop.space_create("Family", None).unwrap();
    titled(&shared, "shared");
    sync(&shared).await;
    for _ in 0..3 {
        laptop.sync_all(&mut |_| {}).await.unwrap();
        phone.sync_all(&mut |_| {}).await.unwrap();
    }
    titled(&shared, "by stick");
    let file = world.home("bundle");
    export(&shared, &file, &BundleBase::Nothing);
    let imported = import(&phone, &file);
    assert_eq!(imported.space_name, "Family");
    assert_eq!(titles(&phone.in_space("Family").unwrap()), ["by stick", "shared"]);
    let live = phone.sync_live();
    let mut busy = false;
    for _ in 0..1_000 {
        busy = try_import(&phone, &world.home("home bundle")).is_err_and(|error| error.is_transient());
        if busy {
            break;
        }
        export(&laptop, &world.home("home bundle"), &BundleBase::Nothing);
        tokio::task::yield_now().await;
    }
    live.stop().await;
    assert!(busy, "while something syncs this home");
    import(&phone, &world.home("home bundle"));
}
