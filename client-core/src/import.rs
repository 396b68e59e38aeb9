//! Import of a folder of Markdown, or of what another program exported: find and read the notes, and decide what becomes of
//! each.
//!
//! ```text
//! ENEX, JEX, OPML, HTML ─ Source ─> a note as the Markdown file it would be: path, text, files beside it
//! scan(path) ── Item::File(candidate) ──> plan(index, candidate, hash of the note now) ──> Plan ──> the caller writes
//!            └─ Item::Skipped, Item::Failed ─────────────────────────────────────────────────────> the report
//! ```
//!
//! [`Scan`] is an iterator and holds one file; [`Scan::next_batch`] gives a bounded number of them to commit together,
//! so that memory does not grow with the folder. The planner is pure. A file is known by its path below the imported
//! folder; whether it changed, and whether its note was edited here, is told by SHA-256: a note that nobody touched
//! gives back exactly the bytes it came from.
//!
//! | path known | file | note here | plan |
//! |---|---|---|---|
//! | yes | unchanged | – | [`Plan::Skip`] |
//! | yes | changed | untouched, or the same text | [`Plan::Update`] |
//! | yes | changed | edited too | [`Plan::Merge`]: [`merge`]; on conflict a second note, [`copy_title`] |
//! | yes | changed | in the trash | [`Plan::Skip`]: the person put it there |
//! | no | a known file of this name has these bytes | – | [`Plan::Duplicate`] |
//! | no | – | – | [`Plan::Create`] |
//!
//! ```
//! use lifeos_client_core::import::{ExistingIndex, Item, Plan, plan, scan};
//! use lifeos_client_core::protocol::ids::DocId;
//!
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("a.md"), "# A\n")?;
//! let mut index = ExistingIndex::default(); // filled from the rows of the notes: insert(doc, path, hash, trashed)
//! let mut created = 0;
//! for item in scan(folder.path())? {
//!     match item {
//!         Item::File(file) => match plan(&index, &file, |_doc| None) {
//!             Plan::Create => {
//!                 let doc = DocId([created; 16]); // create the note here, with title, notebook of file.folders, source
//!                 index.insert(doc, &file.path, file.hash, false);
//!                 created += 1;
//!             }
//!             _ => {} // update, merge, duplicate, skip
//!         },
//!         Item::Skipped { .. } | Item::Failed { .. } => {}
//!     }
//! }
//! assert_eq!(created, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base64;
mod enex;
mod entities;
mod feed;
mod html;
mod inline;
mod joplin;
mod markup;
mod outline;
mod plan;
mod readable;
mod scan;
mod scratch;
mod shape;
mod source;
mod tar;
mod text;

pub use feed::{Feed, FeedEntry, NoFeed, feeds_of_page, parse_feed};
pub use outline::{OutlineFeed, opml_feeds};
pub use plan::{ExistingIndex, Known, Merged, Plan, SkipReason, copy_title, merge, plan};
pub use readable::{Readable, readable};
pub use scan::{Candidate, Carried, FILE_BYTES_MAX, FileFailure, FileSkip, Item, Scan, ScanError, Trouble, scan};
pub use scratch::{Kept, Scratch};
pub use source::{Format, Source};
