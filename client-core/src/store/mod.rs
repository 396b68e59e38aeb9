//! The store: one SQLite database per home, one door for commits.
//!
//! Synchronous, `Send`, used behind one mutex; readers use their own connection. WAL. Wanted shape
//! (owner: store helper; change it where building it shows a flaw, keep the names):
//!
//! ```text
//! Store::create(home, NewHome{..}) / Store::open(home)       migrations by user_version, refuses newer
//! store.write(space, now_ms, |tx| ..) -> Result<(T, Commit)>  THE DOOR for local edits: BEGIN IMMEDIATE, loads documents
//!     tx.edit(doc, genesis, |autocommit| ..)                  (LRU, generation-checked), edits, projects, then one FULL commit:
//!     tx.read(doc, |document| ..)                             change rows (pending=1) + projection row differences + search_dirty
//! store.seal(space, budget, random) -> usize                  pending → Delta(s) → sealed envelopes + stream tip, one FULL commit
//! store.outbox(space, relay, after_seq, bytes_max)            sealed bytes to send
//! store.acked(relay, space, through_seq)                      plain, may be lazy
//! store.receive(space, relay, page: Vec<Item>, cursor)        verify → open → fence → apply in ONE batch per document → rows + quarantine
//!     -> ReceiveReport { changed, quarantined }               + envelopes + stream tips + cursor in one commit (same door)
//! store.put_records(space, ..) / records / membership / keyring
//! store.search(query, limit)                                  FTS5 + dirty rows answered directly
//! store.index_dirty(budget) · store.compact_tails(budget) · store.rebuild_projections() · store.check()
//! ```
