//! First bytes of objects that are being fetched.

use lifeos_sync_protocol::envelope::OVERHEAD_BYTES;
use lifeos_sync_protocol::limits::CHUNK_CT_BYTES_MAX;

use super::*;

impl Device {
    fn held(&self, id: EnvelopeId) -> Vec<u8> {
        self.store.partial(&self.space, &id).unwrap()
    }

    fn keep(&mut self, id: EnvelopeId, from: usize, bytes: &[u8]) {
        self.store.keep_partial(&self.space, &id, u32::try_from(from).unwrap(), bytes).unwrap();
    }
}

#[test]
fn the_first_bytes_of_objects_are_kept_as_they_follow_one_another_and_of_few_objects() {
    let mut a = pair().a;
    let [first, other] = [EnvelopeId([1; 32]), EnvelopeId([2; 32])];
    a.keep(first, 0, b"one ");
    a.keep(first, 4, b"two");
    for (from, bytes) in [(0, "again"), (3, "before"), (8, "behind a gap"), (4, "two"), (5, "")] {
        a.keep(first, from, bytes.as_bytes());
    }
    a.keep(other, 9, b"not its beginning");
    a.store = Store::open(a.home.path()).unwrap();
    assert_eq!((a.held(first), a.held(other)), (b"one two".to_vec(), Vec::new()));
    // No object is longer than this.
    let most = CHUNK_CT_BYTES_MAX + OVERHEAD_BYTES;
    a.keep(other, 0, &vec![7; most]);
    a.keep(other, most, b"!");
    assert_eq!(a.held(other).len(), most);
    // Of many only some stay, and what has come just now is among them.
    for fill in 3..20 {
        a.keep(EnvelopeId([fill; 32]), 0, &[fill]);
        assert_eq!(a.held(EnvelopeId([fill; 32])), [fill]);
    }
    let held = (1..20).filter(|fill| !a.held(EnvelopeId([*fill; 32])).is_empty()).count();
    assert_eq!((held, a.held(other).len(), a.held(first)), (4, most, b"one two".to_vec()));
    a.keep(other, 0, b"");
    assert_eq!(a.held(other), b"");
}

#[test]
fn what_is_kept_of_objects_that_are_not_wanted_any_more_goes() {
    let Pair { mut a, .. } = written();
    let made = a.checkpoint(1_000);
    let chunk = checkpoint_chunks(&made)[0];
    let mut c = newcomer(&mut a, 9);
    c.begin(&made);
    let unwanted = EnvelopeId([2; 32]);
    c.keep(chunk, 0, b"a part of it");
    c.keep(unwanted, 0, b"of something");
    c.store.sweep_partials(&c.space).unwrap();
    assert_eq!((c.held(chunk), c.held(unwanted)), (b"a part of it".to_vec(), Vec::new()));
    c.join(&made, &a);
    c.store.sweep_partials(&c.space).unwrap();
    assert_eq!(c.held(chunk), b"");
}
