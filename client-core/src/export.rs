//! Export as a folder of Markdown: names for the files (pure), and writing them.
//!
//! ```
//! use lifeos_client_core::export::{ExportNote, plan_paths};
//! use lifeos_client_core::protocol::ids::DocId;
//!
//! let note = |id, title: &str| ExportNote { id: DocId([id; 16]), title: title.to_owned(), ..ExportNote::default() };
//! let paths = plan_paths(&[note(2, "Why?"), note(1, "why?")]);
//! assert_eq!(paths, ["Why- (2).md", "why-.md"]);
//! ```
//!
//! The caller lists the living notes with their notebooks, plans all paths, then writes note by note, so that only
//! one text is in memory: [`Exporter::write`] for each, [`Exporter::finish`] once.

#[cfg(feature = "io")]
pub(crate) mod attached;
#[cfg_attr(not(feature = "io"), allow(dead_code, reason = "files are written by the client"))]
pub(crate) mod links;
mod names;
#[cfg(feature = "io")]
mod write;

#[cfg(feature = "io")]
pub(crate) use names::portable;
pub use names::{ExportNote, is_renamed, plan_paths};
#[cfg(feature = "io")]
pub use write::{ExportError, Exporter, Written};
