//! What the store asks of the database does not grow with the history: counted in steps.

use super::*;
use crate::store::receive::insert_mention;
use crate::store::seal;

/// Steps are counted by the hundred, each statement for itself.
const GRAIN: u64 = 300;

fn steps(store: &Store) -> u64 {
    store.metrics().measured().counts.get("database_steps").copied().unwrap_or(0)
}

#[test]
fn sealing_takes_as_many_steps_after_thousands_of_mentions() {
    let Pair { mut a, mut b, .. } = pair();
    b.title(1, &numbered(1), "from b");
    a.receive(&b.send());
    let stream = b.store.own_tip(&b.space).unwrap().stream;
    let mut cost = |at: u32| {
        a.title(i64::from(at), &numbered(2), &format!("edit {at}"));
        let before = steps(&a.store);
        assert_eq!(a.store.reads().vouched_count(&a.space).unwrap(), 0);
        a.seal();
        let cost = steps(&a.store) - before;
        let row = a.store.reads().one("SELECT max(id) FROM stream", [], |row| row.get::<_, i64>(0)).unwrap().unwrap();
        for seq in 0..5_000 {
            insert_mention(&a.store.conn, seal::position(row + 1, at * 10_000 + seq), &stream, 1).unwrap();
        }
        cost
    };
    let _first = cost(1);
    let (few, many) = (cost(2), cost(3));
    assert!(many <= few + GRAIN && many < 5_000, "{few} steps, {many} after twice as many mentions");
}
