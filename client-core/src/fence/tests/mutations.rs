//! Changes and documents with bytes changed and the checksum repaired: none panics out of the fence, none leaves a
//! document that does not load. `LIFEOS_MUTATIONS` and `LIFEOS_SEED` ask for more of them or for other ones.

use std::collections::BTreeMap;

use super::*;

const ROUNDS: usize = 12_000;
const SEED: u64 = 99;

fn asked<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// What happened to the inputs of a run.
#[derive(Debug, Default)]
struct Tally {
    parsed: usize,
    taken: usize,
    loaded: usize,
    outcomes: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, outcome: &dyn std::fmt::Display) {
        *self.outcomes.entry(outcome.to_string()).or_insert(0) += 1;
    }
}

/// Real changes of one device, in order, and the document they make.
fn corpus() -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut alice = document(ALICE);
    let mut changes = vec![set(&mut alice, "title", "a title"), set(&mut alice, "kind", "task")];
    let typed = alice.edit(2_000, |doc| -> Result<(), automerge::AutomergeError> {
        let text = doc.put_object(ROOT, "draft", ObjType::Text)?;
        doc.splice_text(&text, 0, 0, "some text of a note")?;
        doc.splice_text(&text, 3, 4, "ß🎉")?;
        doc.put(ROOT, "pinned", true)?;
        doc.delete(ROOT, "kind")
    });
    changes.push(typed.unwrap().1.unwrap().bytes);
    (changes, alice.snapshot())
}

/// Changes one to four bytes of a chunk's body from `from` on.
fn mutate(body: &mut [u8], from: usize, round: usize, random: &mut SeededRandom) {
    let [count, seeds @ ..]: [u8; 9] = random.bytes();
    for pair in seeds.chunks_exact(2).take(usize::from(count % 4) + 1) {
        let at = from + (usize::from(pair[0]) * 7 + round) % (body.len() - from);
        body[at] = if pair[1] % 3 == 0 { pair[1] } else { body[at] ^ (1 << (pair[1] % 8)) };
    }
}

fn try_change(here: &Document, before: &[Vec<u8>], mutated: &[u8], tally: &mut Tally) {
    let deltas = match check(&opened(1, ALICE, &[mutated])) {
        Ok(deltas) => deltas,
        Err(error) => return tally.count(&error),
    };
    tally.parsed += 1;
    let mut fresh = here.clone();
    apply(&mut fresh, vec![checked(2, ALICE, &before.iter().map(Vec::as_slice).collect::<Vec<_>>())]);
    let heads = fresh.heads();
    let applied = apply(&mut fresh, deltas);
    tally.taken += usize::from(applied.changed());
    if !applied.changed() {
        assert_eq!(fresh.heads(), heads);
    }
    Document::load(DOC, NOTE, HERE, &fresh.snapshot(), &[]).unwrap();
    if let Some((_, error)) = applied.refused.first() {
        tally.count(error);
    }
}

fn try_document(mutated: &[u8], tally: &mut Tally) {
    match Document::load(DOC, NOTE, HERE, mutated, &[]) {
        Ok(mut document) => {
            tally.loaded += 1;
            Document::load(DOC, NOTE, HERE, &document.snapshot(), &[]).unwrap();
        }
        Err(error) => tally.count(&error),
    }
}

#[test]
fn thousands_of_mutated_changes_and_documents_never_escape_and_leave_the_document_as_it_was() {
    quiet_automerge();
    let (rounds, seed) = (asked("LIFEOS_MUTATIONS", ROUNDS), asked("LIFEOS_SEED", SEED));
    let (changes, snapshot) = corpus();
    let (mut here, mut random, mut tally) = (document(HERE), SeededRandom::new(seed), Tally::default());
    for round in 0..rounds {
        if round % 5 == 4 {
            let mut body = body_of(&snapshot);
            mutate(&mut body, 0, round, &mut random);
            try_document(&chunk(0, &body), &mut tally);
        } else {
            let at = round % changes.len();
            let mut body = body_of(&changes[at]);
            mutate(&mut body, 17, round, &mut random);
            try_change(&here, &changes[..at], &chunk(1, &body), &mut tally);
        }
    }
    println!("{rounds} inputs, seed {seed}: {tally:?}");
    assert!(tally.parsed > rounds / 50 && tally.taken > rounds / 500, "the mutations reach Automerge: {tally:?}");
    assert!(tally.outcomes.len() >= 4, "and fail in different ways: {tally:?}");
    set(&mut here, "title", "alive");
    assert_eq!(get(&here, "title").as_deref(), Some("alive"));
}

#[test]
fn a_damaged_change_behind_sound_ones_is_noticed_and_nothing_of_the_home_is_taken_for_whole() {
    quiet_automerge();
    let (changes, snapshot) = corpus();
    let tail = changes.concat();
    let mut genesis_only = document(ALICE);
    assert!(Document::load(DOC, NOTE, HERE, &genesis_only.snapshot(), &tail).is_ok());
    let last = tail.len() - changes[2].len();
    for at in last..tail.len() {
        let mut damaged = tail.clone();
        damaged[at] ^= 0x10;
        assert!(Document::load(DOC, NOTE, HERE, &genesis_only.snapshot(), &damaged).is_err(), "byte {at}");
    }
    for at in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 0x10;
        assert!(Document::load(DOC, NOTE, HERE, &damaged, &[]).is_err(), "byte {at} of the snapshot");
    }
}
