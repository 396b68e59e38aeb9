//! Notes: title, rich-text body, properties, tags, notebooks, links, history.
//!
//! Operations are small functions on an `AutoCommit`, to be run inside `Document::edit`; time is an argument.
//! They check what is local and refuse it with a typed error; what other devices wrote is never refused.
//!
//! | file | what |
//! |---|---|
//! | `declared` | kinds, fields, tables |
//! | `note` | create, title, Markdown, pin, move, trash |
//! | `body` | the text object: read, replace by difference, splice, todos |
//! | `front` | front matter and properties |
//! | `tags` | tags |
//! | `attachments` | which contents a note attaches, and under which names |
//! | `tree` | notebooks and the cycle rule |
//! | `project` | rows and search text |
//! | `whole` | a new note as one change, without its document |
//! | `journal`, `template` | a note a day that two devices may begin; what notes are made from |
//! | `history`, `undo` | versions; taking back one's own edits |
//! | `markdown` | Markdown to a body and back |

pub mod attachments;
pub mod body;
pub mod declared;
pub mod front;
pub mod history;
pub mod journal;
pub mod markdown;
pub mod note;
pub mod project;
pub mod tags;
pub mod template;
pub mod tree;
#[cfg(feature = "io")]
pub(crate) mod typed;
pub mod undo;
pub mod whole;

#[cfg(test)]
mod tests;

pub use history::{Version, markdown_at, restore_version};
pub use note::{
    Draft, Source, create, is_edited_after_trash, markdown_of, move_to, pin, restore, set_markdown, set_source,
    set_title, trash,
};
pub use undo::apply_undo;
