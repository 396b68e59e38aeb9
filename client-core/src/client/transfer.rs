//! Notes from one space to another: copied, or moved in one commit over both.

use lifeos_sync_protocol::ids::DocId;

use super::{Client, ClientError};
use crate::crypto::{SystemRandom, random_bytes};
use crate::engine::wall_ms;
use crate::modules::notes::{attachments, front, note};
use crate::registry::NOTE_GENESIS;

/// Property of a moved note's remains in the home space: where it went. In a shared space it would tell others of a
/// space that they may know nothing of.
const MOVED_TO: &str = "moved_to";

impl Client {
    /// Copies a note into another space of this home: text, title, properties and tags. The copy has a life, and a
    /// history, of its own.
    /// # Errors
    /// [`ClientError`].
    pub fn note_copy_to(&self, id: &str, to: &Self) -> Result<DocId, ClientError> {
        self.transfer(id, to, false)
    }

    /// Moves a note into another space: a copy there, and here the trash, both or neither. In the home space the
    /// remains say where the note went; in a shared space they say nothing of the other one.
    /// # Errors
    /// [`ClientError`].
    pub fn note_move_to(&self, id: &str, to: &Self) -> Result<DocId, ClientError> {
        self.transfer(id, to, true)
    }

    fn transfer(&self, id: &str, to: &Self, removes: bool) -> Result<DocId, ClientError> {
        if to.space() == self.space() {
            return Err(ClientError::invalid("the note is in this space already"));
        }
        for client in if removes { vec![self, to] } else { vec![to] } {
            if !client.shared.state().membership.may_write(&client.device()) {
                return Err(ClientError::invalid("you may read this space, not write in it"));
            }
        }
        if to.shared.state().membership.closed.is_some() {
            return Err(ClientError::invalid("that space is closed: nothing new begins there"));
        }
        let doc = self.note_id(id)?;
        let copy = DocId(random_bytes(&mut SystemRandom::new()));
        let now_ms = wall_ms();
        let link = self.is_home()?.then(|| serde_json::Value::String(format!("{}/{copy}", to.space())));
        let spaces = (&self.space(), &to.space());
        let (_, here, there) = self.shared.store().write_two(spaces, now_ms, |from, into| {
            let row = from.reads().note(&self.space(), &doc)?;
            let markdown = from.read(&doc, |document| note::markdown_of(document.read()))?;
            let (Some(row), Some(markdown)) = (row, markdown) else {
                return Err(ClientError::not_found(format!("note {id}")));
            };
            let markdown = markdown?;
            if removes && from.read(&doc, |document| !attachments::attachments(document.read()).is_empty())? == Some(true) {
                return Err(ClientError::invalid(
                    "the note has attachments, which stay in their space: copy it, or save them and take them away first",
                ));
            }
            let draft = note::Draft {
                title: &row.title,
                markdown: &markdown,
                tags: &row.tags,
                kind: note::special(&row.kind),
                ..note::Draft::default()
            };
            into.edit(&copy, NOTE_GENESIS, |new| note::create(new, &draft, now_ms).map_err(ClientError::from))?;
            if removes {
                from.edit(&doc, NOTE_GENESIS, |old| -> Result<(), ClientError> {
                    if let Some(link) = &link {
                        front::set_property(old, MOVED_TO, Some(link))?;
                    }
                    Ok(note::trash(old, now_ms)?)
                })?;
            }
            Ok(())
        })?;
        self.shared.committed(here);
        to.shared.committed(there);
        Ok(copy)
    }
}
