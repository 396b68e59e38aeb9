//! Golden vectors of what only devices compute: keys, sealed envelopes, epochs and links, made from fixed seeds.
//!
//! Lines of `client-core/vectors/*.txt` are `name hex`; the files are only ever added to. `tests/decoder` opens them with
//! code of its own. After adding a vector here, run the ignored test `missing_vectors_are_added`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lifeos_sync_protocol::envelope::{Envelope, Kind};
use lifeos_sync_protocol::frame::{Cursor, Have};
use lifeos_sync_protocol::ids::{
    DocId, EpochRef, LogId, MemberId, RecordId, Roll, SignPk, Signature, SpaceId, StreamId,
};
use lifeos_sync_protocol::log::{Statement, statement_message};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, DeviceKind, Record};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::bundle::BundleWriter;
use crate::checkpoint::{ChunkNote, Manifest, Pack, PackedDoc, Piece, encode_rows, open_manifest, seal_manifest};
use crate::crypto::{HpkeKey, Random, SeededRandom, random_bytes};
use crate::delta::{Delta, DocDelta, ErasedDoc};
use crate::document::{GenesisId, singleton_doc_id};
use crate::envelope::{
    ObjectPlace, SealedEnvelope, SignatureCheck, StreamTip, envelope_key, open, open_object, seal, seal_object, verify,
    verify_object,
};
use crate::keys::{DeviceKeys, DeviceRoot, EpochSecret, Keyring, OwnKeys, RecoveryPhrase, health, receipt_key};
use crate::link::{ExistingDevice, GrantedSpaceInput, LinkStep, NewDevice, OfferedSpace};
use crate::nearby::announce;
use crate::own_devices::{Place, claim};
use crate::presence::{self, Activity, At, Point, Presence, Shown};
use crate::projection::{Row, Value};
use crate::receipt::{self, Receipt};
use crate::records::{
    AddDevice, Draft, Founded, Founding, Named, add_device, found_space, open_epochs, open_name, unlock_epochs,
};
use crate::registry::{NOTE_TAG, NOTEBOOK};
use crate::witness::{encode_app, state_code, statement_bytes};
use automerge::ChangeHash;

const WORDS_12: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
const WORDS_24: &str = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth \
                        useful legal winner thank year wave sausage worth title";
const ROOT: [u8; 32] = [0x11; 32];
const NEW_ROOT: [u8; 32] = [0x12; 32];
const RANDOM: [u8; 32] = [0x22; 32];
const MEMBER: MemberId = MemberId([0x33; 16]);

type Vectors = Vec<(String, Vec<u8>)>;

/// The files: name, comment at the top, vectors.
fn files() -> [(&'static str, &'static str, Vectors); 12] {
    [
        (
            "keys.txt",
            "Inputs and what is derived from them. Words are UTF-8; entropy is what BIP-39 says of them.",
            keys(),
        ),
        (
            "space.txt",
            "A space as its devices see it: whole records, with the roots of two devices and the entropy of the \
             paper key; secrets of the epochs; the names of devices. The records are in an order that has parents first.",
            space(),
        ),
        (
            "link.txt",
            "A link by code between the devices of space.txt: what the new device shows, the key material of both \
             one-time keys, the three messages, and what they say. Texts are UTF-8.",
            link(),
        ),
        (
            "sealed.txt",
            "One envelope of every kind, sealed in the space of space.txt by its founder under epoch_1: .id is the \
             content address, .key the single-use key, .body what opens. What DEFLATE makes may differ between \
             versions of a library, so delta_deflated is held by opening it.",
            sealed(),
        ),
        (
            "receipt.txt",
            "A receipt of the second device of space.txt, sealed under epoch_1, and what it says: r32, u64 said_ms, held \
             (stream, u32 seq) twice, one record as advice, u32 set_aside. device: its sign_pk; .id and .body as in \
             sealed.txt.",
            receipt(),
        ),
        (
            "presence.txt",
            "What the second device of space.txt says of who is there, sealed under epoch_1: r32, session, heard (session, \
             u32 count) twice, doc, and the selection from before the character of actor and u32 counter to the end. device: \
             its sign_pk; .id and .body as in sealed.txt; gone.body: that nobody is there any more.",
            presence(),
        ),
        (
            "checkpoint.txt",
            "A pack of two documents (doc: the first one's id; heads: its two heads; rows: its rows) with what stands for \
             Automerge bytes, and a manifest (.body) sealed by the second device of space.txt under epoch_1; through: \
             stream, u32 seq.",
            checkpoint(),
        ),
        (
            "advice.txt",
            "The app field of a Delta that tells of one statement and two records; records: the two ids together. The \
             relay's Ed25519 seed is 09*32, space 01*32.",
            advice(),
        ),
        (
            "state_code.txt",
            "Six digits of a space 01*32 with two record heads and three streams, one of them without an envelope. \
             code: the digits, UTF-8; stream_n: id, u32 seq, id of the last envelope.",
            state_code_vectors(),
        ),
        (
            "own_device.txt",
            "What the device of keys.txt writes into its person's home about its key elsewhere: claim, for the space \
             and member named here. Its keys at home are `device`, those in the space `device_elsewhere`.",
            own_device(),
        ),
        (
            "bundle.txt",
            "A bundle of the space of space.txt: its first two records, and the delta of sealed.txt, of whose stream \
             nothing is left out.",
            bundle(),
        ),
        (
            "nearby.txt",
            "What a device that listens on port 4700 with the relay key 09*32 announces for the space 01*32 on day 20780, \
             under the epoch secret 44*32: name, in hex as it is shown, and said. The salt is 0c*12.",
            nearby_vectors(),
        ),
    ]
}

/// Draws the same bytes for ever.
struct Same(u8);

impl Random for Same {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

fn nearby_vectors() -> Vectors {
    let (secret, space) = (EpochSecret::from_bytes([0x44; 32]), SpaceId([1; 32]));
    let made = announce(&secret, &space, 20_780, (4700, &SignPk([9; 32])), &mut Same(0x0c)).unwrap();
    vec![("name".to_owned(), made.name.into_bytes()), ("said".to_owned(), made.said)]
}

fn bundle() -> Vectors {
    let mut world = world();
    let tip = StreamTip::start(&world.founded.space, &world.keys.sign_pk(), &mut world.random);
    let sealed = world.seal(&mut Vec::new(), "delta", &tip, b"first");
    let tip_id = sealed.id.0[..8].try_into().unwrap();
    let have = Have { stream: tip.stream, floor: 0, tip: 1, tip_id, holes: Vec::new() };
    let mut writer = BundleWriter::begin(Vec::new(), &world.founded.space, vec![have]).unwrap();
    writer.records(world.records.iter().take(2).map(|record| record.bytes().to_vec())).unwrap();
    writer.envelopes(vec![sealed.bytes]).unwrap();
    vec![("file".to_owned(), writer.finish().unwrap().0)]
}

fn own_device() -> Vectors {
    let root = DeviceRoot::from_bytes(ROOT);
    let place = Place { space: SpaceId([0x55; 32]), genesis_random: [0x23; 32], member: MemberId([0x34; 16]) };
    let (home, keys) = (root.derive_space(&RANDOM), root.derive_space(&place.genesis_random));
    vec![
        ("space".to_owned(), place.space.0.to_vec()),
        ("member".to_owned(), place.member.0.to_vec()),
        ("claim".to_owned(), claim(&home, &keys, &place)),
    ]
}

fn state_code_vectors() -> Vectors {
    let space = SpaceId([1; 32]);
    let heads = [RecordId([0x41; 32]), RecordId([0x42; 32])];
    let tip =
        |stream, seq, id| StreamTip { stream: StreamId([stream; 16]), device: SignPk([9; 32]), seq, id: [id; 32] };
    // Given in another order than they are hashed in.
    let tips = [tip(0x53, 0x0102_0304, 0x63), tip(0x51, 7, 0x61), tip(0x52, 0, 0x62)];
    let bytes = |tip: &StreamTip| [&tip.stream.0[..], &tip.seq.to_be_bytes(), &tip.id].concat();
    vec![
        ("space".to_owned(), space.0.to_vec()),
        ("head_1".to_owned(), heads[0].0.to_vec()),
        ("head_2".to_owned(), heads[1].0.to_vec()),
        ("stream_1".to_owned(), bytes(&tips[0])),
        ("stream_2".to_owned(), bytes(&tips[1])),
        ("stream_without_envelope".to_owned(), bytes(&tips[2])),
        ("code".to_owned(), state_code(&space, &heads, &tips).into_bytes()),
    ]
}

fn keys() -> Vectors {
    let (device, other_space) =
        (DeviceRoot::from_bytes(ROOT).derive_space(&RANDOM), DeviceRoot::from_bytes(ROOT).derive_space(&[0x23; 32]));
    let secret = EpochSecret::from_bytes([0x44; 32]);
    let document = singleton_doc_id(&lifeos_sync_protocol::ids::SpaceId([0x55; 32]), "tree", "notes");
    let mut out =
        vec![("device.root".to_owned(), ROOT.to_vec()), ("device.genesis_random".to_owned(), RANDOM.to_vec())];
    pair(&mut out, "device", &device);
    out.push(("device_elsewhere.genesis_random".to_owned(), vec![0x23; 32]));
    pair(&mut out, "device_elsewhere", &other_space);
    for (name, words, entropy) in [("paper_12", WORDS_12, vec![0; 16]), ("paper_24", WORDS_24, vec![0x7f; 32])] {
        let phrase = RecoveryPhrase::parse(words).unwrap();
        out.push((format!("{name}.words"), words.as_bytes().to_vec()));
        out.push((format!("{name}.entropy"), entropy));
        pair(&mut out, &format!("{name}.home"), &phrase.derive_home());
        pair(&mut out, &format!("{name}.space"), &phrase.derive_space(&RANDOM));
    }
    let entry = device.entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    out.extend([
        ("device.member".to_owned(), MEMBER.0.to_vec()),
        ("device.proof".to_owned(), entry.proof.0.to_vec()),
        ("epoch.secret".to_owned(), secret.to_bytes().to_vec()),
        ("epoch.commit".to_owned(), secret.commitment().to_vec()),
        ("document.space".to_owned(), vec![0x55; 32]),
        ("document.kind".to_owned(), b"tree".to_vec()),
        ("document.key".to_owned(), b"notes".to_vec()),
        ("document.id".to_owned(), document.0.to_vec()),
        ("device.database".to_owned(), DeviceRoot::from_bytes(ROOT).derive_database().to_bytes().to_vec()),
    ]);
    out
}

fn pair(out: &mut Vectors, name: &str, keys: &DeviceKeys) {
    out.push((format!("{name}.sign_pk"), keys.sign_pk().0.to_vec()));
    out.push((format!("{name}.hpke_pk"), keys.hpke_pk().0.to_vec()));
}

/// A space with two devices and a paper key.
struct World {
    keys: DeviceKeys,
    new: DeviceKeys,
    founded: Founded,
    records: Vec<Record>,
    membership: Membership,
    keyring: Keyring,
    random: SeededRandom,
}

fn world() -> World {
    let mut random = SeededRandom::new(7);
    let keys = DeviceRoot::from_bytes(ROOT).derive_space(&RANDOM);
    let new = DeviceRoot::from_bytes(NEW_ROOT).derive_space(&RANDOM);
    let recovery = RecoveryPhrase::parse(WORDS_12).unwrap().derive_home();
    let relays = vec!["wss://relay.example".to_owned()];
    let founding = Founding { genesis_random: RANDOM, member: MEMBER, keys: &keys, recovery: &recovery, relays };
    let founded = found_space(&founding, &mut random).unwrap();
    let mut records = vec![founded.genesis.clone(), founded.epoch.clone()];
    let membership = Membership::evaluate(&founded.space, &records).unwrap();
    let keyring = open_epochs(&membership, &records, &keys);
    let entry = new.entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    let add = AddDevice {
        membership: &membership,
        records: &records,
        keyring: &keyring,
        keys: &keys,
        member: MEMBER,
        entry,
        name: "Ada's phone",
    };
    let added = add_device(&add, &mut random).unwrap();
    records.extend(added);
    let membership = Membership::evaluate(&founded.space, &records).unwrap();
    assert!(membership.void.is_empty());
    World { keys, new, founded, records, membership, keyring, random }
}

fn space() -> Vectors {
    let world = world();
    let own = open_epochs(&world.membership, &world.records, &world.new);
    assert!(own.find(&world.founded.epoch_ref).is_some(), "the new device reads epoch 1 through its grant");
    let (rotated, second) = world.rotate();
    let names = ["genesis", "epoch_1", "device_add", "epoch_2"];
    assert_eq!(names.len(), rotated.len());
    let mut out = vec![
        ("founder.root".to_owned(), ROOT.to_vec()),
        ("new_device.root".to_owned(), NEW_ROOT.to_vec()),
        ("paper.entropy".to_owned(), vec![0; 16]),
    ];
    let records = names.iter().zip(&rotated);
    out.extend(records.map(|(name, record)| ((*name).to_owned(), record.bytes().to_vec())));
    out.push(("epoch_1.secret".to_owned(), world.founded.secret.to_bytes().to_vec()));
    let Body::DeviceAdd { enc_meta, .. } = world.records[2].body() else { panic!("not a DeviceAdd") };
    let name = open_name(&world.founded.space, Named::Device(&world.new.sign_pk()), enc_meta, &own).unwrap();
    out.push(("device_add.name".to_owned(), name.into_bytes()));
    out.push(("epoch_2.secret".to_owned(), second.to_bytes().to_vec()));
    out
}

/// The three messages of one attempt, and what a reader needs to open them.
fn link() -> Vectors {
    let world = world();
    let mut random = SeededRandom::new(8);
    let relay = SignPk([0x4e; 32]);
    let link_material: [u8; 32] = random.clone().bytes();
    let root = DeviceRoot::from_bytes(NEW_ROOT);
    let mut new = NewDevice::start(root, "wss://relay.example", relay, "Ada's phone", &mut random).unwrap();
    let (space, device_add) = (world.founded.space, world.records[2].id());
    let offered = OfferedSpace { space, member: MEMBER, genesis_random: RANDOM };
    let one_time_material: [u8; 32] = random.clone().bytes();
    let mut existing = ExistingDevice::start(new.link().clone(), relay, vec![offered], &mut random).unwrap();
    let sent = |step| match step {
        LinkStep::Send(message) => message,
        step => panic!("nothing to send: {step:?}"),
    };
    let offer = sent(existing.poll());
    existing.sent(0).unwrap();
    new.handle(0, &offer, &mut random).unwrap();
    let keys = sent(new.poll());
    new.sent(1).unwrap();
    existing.handle(1, &keys).unwrap();
    let code = new.code().unwrap();
    existing.enter_code(&code).unwrap();
    let granted = GrantedSpaceInput { space, device_add, head: device_add };
    existing.grant("Ada", &["wss://relay.example".to_owned()], &[granted]).unwrap();
    let grant = sent(existing.poll());
    new.handle(2, &grant, &mut random).unwrap();
    assert_eq!(HpkeKey::derive(&link_material).public(), new.link().link_pk);
    [
        ("text", new.link().to_string().into_bytes()),
        ("link_key.material", link_material.to_vec()),
        ("one_time_key.material", one_time_material.to_vec()),
        ("relay", b"wss://relay.example".to_vec()),
        ("relay_pk", relay.0.to_vec()),
        ("offer", offer),
        ("keys", keys),
        ("grant", grant),
        ("code", code.as_bytes().to_vec()),
        ("device_name", b"Ada's phone".to_vec()),
        ("person", b"Ada".to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn delta(text: &[u8]) -> Delta {
    let doc = DocDelta { doc: DocId([3; 16]), changes: vec![text.to_vec()], genesis: GenesisId(1) };
    Delta { frontier: vec![(StreamId([2; 16]), 9)], docs: vec![doc], ..Delta::default() }
}

fn sealed() -> Vectors {
    let mut world = world();
    let mut out = Vec::new();
    let tip = StreamTip::start(&world.founded.space, &world.keys.sign_pk(), &mut world.random);
    let r32 = tip.id;
    let first = world.seal(&mut out, "delta", &tip, b"first");
    let tip = StreamTip { seq: first.seq, id: first.id.0, ..tip };
    world.seal(&mut out, "delta_deflated", &tip, &b"second ".repeat(200));
    let erased = vec![
        ErasedDoc { doc: DocId([3; 16]), heads: vec![[4; 32], [5; 32]], successor: None },
        ErasedDoc { doc: DocId([6; 16]), heads: Vec::new(), successor: Some(DocId([7; 16])) },
    ];
    out.push(("erased.body".to_owned(), Delta { erased, ..Delta::default() }.encode().unwrap()));
    let kinds = [
        ("chunk", Kind::Chunk, 0),
        ("blob_part", Kind::BlobPart, 0),
        ("ephemeral", Kind::Ephemeral, 5),
        ("receipt", Kind::Receipt, 6),
    ];
    for (name, kind, seq) in kinds {
        let r32 = if matches!(kind, Kind::Chunk | Kind::BlobPart) { r32 } else { [0; 32] };
        let place = ObjectPlace { kind, stream: tip.stream, seq, r32, epoch: world.founded.epoch_ref };
        let body = format!("the body of a {name}").into_bytes();
        let World { founded, keys, random, .. } = &mut world;
        let sealed = seal_object(&founded.space, &place, keys, &founded.secret, &body, random).unwrap();
        world.push(&mut out, name, &sealed, body);
    }
    out
}

fn checkpoint() -> Vectors {
    let World { founded, new, membership, keyring, mut random, .. } = world();
    let tag = Row { table: NOTE_TAG.name, key: "plum".into(), values: vec!["plum".into(), "Plum".into()] };
    let values = vec!["Kitchen".into(), Value::Null, "a".into(), Value::Int(-1), Value::Int(1_700_000_000_123)];
    let rows = encode_rows(&[tag, Row { table: NOTEBOOK.name, key: String::new(), values }]);
    let mut heads = [random_bytes(&mut random), random_bytes(&mut random)];
    heads.sort_unstable();
    let packed = |n: u8, heads: &[[u8; 32]], rows: Vec<u8>| {
        let heads = heads.iter().copied().map(ChangeHash).collect();
        PackedDoc { doc: DocId([n; 16]), genesis: GenesisId(1), heads, bytes: vec![n; 5], rows }
    };
    let docs = vec![packed(9, &heads, rows.clone()), packed(3, &heads[..1], Vec::new())];
    let pack = Pack { stamp: b"projections".to_vec(), docs, pieces: Vec::new() };
    assert_eq!(Pack::decode(&pack.encode()).as_ref(), Ok(&pack));
    let PackedDoc { doc, genesis, heads: of_piece, bytes, .. } = pack.docs[0].clone();
    let piece = Piece { doc, genesis, heads: of_piece, number: 2, of: 3, bytes };
    let of_pieces = Pack { stamp: pack.stamp.clone(), docs: Vec::new(), pieces: vec![piece] };
    assert_eq!(Pack::decode(&of_pieces.encode()).as_ref(), Ok(&of_pieces));
    let chunk = ChunkNote::new(true, 700, pack.docs.iter().map(|doc| doc.doc));
    let through = (StreamId(random_bytes(&mut random)), 77);
    let rest = ChunkNote { prefixes: Vec::new(), ..ChunkNote::new(false, 90_000, [DocId([1; 16])]) };
    let manifest = Manifest { docs: 3, chunks: vec![chunk, rest], through: vec![through], ..Manifest::default() };
    let key = health(&new.sign_pk(), OwnKeys::first(&new), &membership, &keyring).unwrap();
    let sealed = seal_manifest(&founded.space, &manifest, &key, &mut random).unwrap();
    assert_eq!(open_manifest(&founded.space, &sealed, &keyring), Ok(manifest.clone()));
    [
        ("pack", pack.encode()),
        ("stamp", pack.stamp.clone()),
        ("doc", pack.docs[0].doc.0.to_vec()),
        ("heads", heads.concat()),
        ("rows", rows),
        ("through", [&through.0.0[..], &77_u32.to_be_bytes()].concat()),
        ("manifest", sealed),
        ("manifest.body", manifest.encode()),
        ("pack_of_pieces", of_pieces.encode()),
        ("manifest_erased.body", Manifest { erased: vec![DocId([3; 16]), DocId([6; 16])], ..manifest }.encode()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn receipt() -> Vectors {
    let World { founded, new, membership, keyring, mut random, .. } = world();
    let (space, device) = (founded.space, new.sign_pk());
    let tip = StreamTip::start(&space, &device, &mut random);
    let mut held = [7, u32::MAX].map(|seq| (StreamId(random_bytes(&mut random)), seq)).to_vec();
    held.sort_unstable();
    let record = RecordId(random_bytes(&mut random));
    let app = encode_app(&[], &[record]);
    let said = Receipt { r32: tip.id, said_ms: 1_700_000_000_123, held, app, set_aside: 2 };
    let own = OwnKeys::first(&new);
    let key = receipt_key(&device, own, &membership, &keyring).unwrap();
    let sealed = receipt::seal(&space, (tip.stream, 6), &new, &key, &said, &mut random).unwrap();
    let opened = receipt::open(&space, &membership, &keyring, sealed.bytes.clone()).unwrap();
    assert_eq!((opened.device, opened.count, &opened.receipt), (device, 6, &said));
    let held = said.held.iter().flat_map(|(stream, seq)| [stream.0.to_vec(), seq.to_be_bytes().to_vec()].concat());
    [
        ("device", device.0.to_vec()),
        ("r32", said.r32.to_vec()),
        ("said_ms", said.said_ms.to_be_bytes().to_vec()),
        ("held", held.collect()),
        ("record", record.0.to_vec()),
        ("set_aside", said.set_aside.to_be_bytes().to_vec()),
        ("receipt", sealed.bytes),
        ("receipt.id", sealed.id.0.to_vec()),
        ("receipt.body", said.encode()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn presence() -> Vectors {
    let World { founded, new, membership, keyring, mut random, .. } = world();
    let (space, device) = (founded.space, new.sign_pk());
    let tip = StreamTip::start(&space, &device, &mut random);
    let mut heard = [7, u32::MAX].map(|count| (random_bytes(&mut random), count)).to_vec();
    heard.sort_unstable();
    let (doc, actor, counter) = (DocId(random_bytes(&mut random)), StreamId(random_bytes(&mut random)), 0x0102_0304);
    let selection = Some((Point::Before { actor, counter }, Point::End));
    let shown = Some(Shown { activity: Activity::Idle, at: Some(At { doc, selection }) });
    let said = Presence { r32: tip.id, session: random_bytes(&mut random), heard, shown };
    let key = receipt_key(&device, OwnKeys::first(&new), &membership, &keyring).unwrap();
    let sealed = presence::seal(&space, (tip.stream, 6), &new, &key, &said, &mut random).unwrap();
    let opened = presence::open(&space, &membership, &keyring, key.epoch(), sealed.bytes.clone()).unwrap();
    assert_eq!((opened.device, opened.count, &opened.presence), (device, 6, &said));
    let heard =
        said.heard.iter().flat_map(|(session, count)| [session.to_vec(), count.to_be_bytes().to_vec()].concat());
    [
        ("device", device.0.to_vec()),
        ("r32", said.r32.to_vec()),
        ("session", said.session.to_vec()),
        ("heard", heard.collect()),
        ("doc", doc.0.to_vec()),
        ("actor", actor.0.to_vec()),
        ("counter", counter.to_be_bytes().to_vec()),
        ("presence", sealed.bytes),
        ("presence.id", sealed.id.0.to_vec()),
        ("presence.body", said.encode()),
        ("gone.body", Presence { heard: Vec::new(), shown: None, ..said }.encode()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn advice() -> Vectors {
    let relay = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let key = SignPk(relay.public_key().as_ref().try_into().unwrap());
    let (space, time_ms) = (SpaceId([1; 32]), 3);
    let log = Cursor { log_id: LogId([4; 16]), pos: 7, roll: Roll([8; 16]) };
    let records = [RecordId([6; 32]), RecordId([7; 32])];
    let signature = relay.sign(&statement_message(&space, &log, &records, time_ms));
    let signature = Signature(signature.as_ref().try_into().unwrap());
    let frame = statement_bytes(&Statement { space, log, rec_heads: records.to_vec(), time_ms, signature });
    [
        ("relay_pk", key.0.to_vec()),
        ("statement", frame.clone()),
        ("records", records.map(|record| record.0).concat()),
        ("app", encode_app(&[(key, frame)], &records)),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

impl World {
    /// All records with a second epoch by the founder, and its secret.
    fn rotate(&self) -> (Vec<Record>, EpochSecret) {
        let mut random = SeededRandom::new(9);
        let opened = unlock_epochs(&self.membership, &self.records, OwnKeys::first(&self.keys));
        let mut draft = Draft::begin(&self.membership, &self.records, &opened, &self.keys);
        let epoch = draft.rotate(&mut random).unwrap();
        let records = [self.records.clone(), draft.finish()].concat();
        let membership = Membership::evaluate(&self.founded.space, &records).unwrap();
        // The new device opens the second epoch by its seal; one that held only the second would follow the wrap.
        let held = open_epochs(&membership, &records, &self.new);
        (records, held.find(&epoch).unwrap().clone())
    }

    fn seal(&mut self, out: &mut Vectors, name: &str, tip: &StreamTip, text: &[u8]) -> SealedEnvelope {
        let (delta, epoch) = (delta(text), self.founded.epoch_ref);
        let Self { founded, keys, random, .. } = self;
        let sealed = seal(&founded.space, tip, keys, epoch, &founded.secret, &delta, random).unwrap();
        self.push(out, name, &sealed, delta.encode().unwrap());
        sealed
    }

    fn push(&self, out: &mut Vectors, name: &str, sealed: &SealedEnvelope, body: Vec<u8>) {
        let envelope = Envelope::parse(sealed.bytes.clone()).unwrap();
        let key = envelope_key(&self.founded.secret, envelope.header());
        out.push((name.to_owned(), sealed.bytes.clone()));
        out.push((format!("{name}.id"), sealed.id.0.to_vec()));
        out.push((format!("{name}.key"), key.to_vec()));
        out.push((format!("{name}.body"), body));
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn stored(file: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    lines.map(|(name, hex)| (name.to_owned(), hex.to_owned())).collect()
}

/// What the code makes and the file does not hold, or holds otherwise.
fn differences(file: &str, made: &Vectors) -> Vec<String> {
    let stored = stored(file);
    let differs = |(name, bytes): &&(String, Vec<u8>)| stored.get(name) != Some(&hex(bytes));
    made.iter().filter(differs).map(|(name, _)| name.clone()).collect()
}

#[test]
fn what_devices_compute_is_what_the_golden_vectors_say() {
    for (file, _, made) in files() {
        // Only the bytes of DEFLATE are another library's; the next test opens them.
        let held_by_opening = |name: &String| file == "sealed.txt" && name.starts_with("delta_deflated");
        let wrong: Vec<String> = differences(file, &made).into_iter().filter(|name| !held_by_opening(name)).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{file}");
        assert_eq!(stored(file).len(), made.len(), "{file}: a vector is no longer made");
    }
}

#[test]
fn a_changed_byte_of_a_golden_vector_is_noticed() {
    for (file, _, made) in files() {
        assert!(!made.is_empty(), "{file}");
        for at in 0..made.len() {
            let mut changed = made.clone();
            let last = changed[at].1.len() - 1;
            changed[at].1[last] ^= 1;
            assert!(differences(file, &changed).contains(&made[at].0), "{file}: {}", made[at].0);
        }
    }
}

#[test]
fn every_golden_envelope_opens() {
    let world = world();
    let stored = stored("sealed.txt");
    let mut tip = None;
    for name in ["delta", "delta_deflated", "chunk", "blob_part", "ephemeral", "receipt"] {
        let envelope = Envelope::parse(unhex(&stored[name])).unwrap();
        let body = unhex(&stored[&format!("{name}.body")]);
        let space = &world.founded.space;
        if envelope.header().kind == Kind::Delta {
            let (verified, next) =
                verify(space, &world.membership, tip.as_ref(), envelope, SignatureCheck::Now).unwrap();
            assert_eq!(open(space, &verified, &world.keyring).unwrap().delta, Delta::decode(&body).unwrap(), "{name}");
            tip = Some(next);
        } else {
            let verified = verify_object(space, &world.membership, &world.keys.sign_pk(), envelope).unwrap();
            assert_eq!(*open_object(space, &verified, &world.keyring).unwrap().body, body, "{name}");
        }
    }
}

#[test]
fn the_epoch_of_the_golden_space_is_named_by_its_record() {
    let world = world();
    let id = world.founded.epoch.id();
    assert_eq!(world.founded.epoch_ref, EpochRef(id.0[..16].try_into().unwrap()));
}

/// Adds what is missing and changes nothing: `cargo test -p lifeos-client-core --lib vectors -- --ignored`.
#[test]
#[ignore = "writes the golden files"]
fn missing_vectors_are_added() {
    std::fs::create_dir_all(folder()).unwrap();
    for (file, about, made) in files() {
        let known = stored(file);
        let mut text = std::fs::read_to_string(folder().join(file)).unwrap_or_else(|_| format!("# {about}\n"));
        for (name, bytes) in made.iter().filter(|(name, _)| !known.contains_key(name)) {
            writeln!(text, "{name} {}", hex(bytes)).unwrap();
        }
        std::fs::write(folder().join(file), text).unwrap();
    }
}
