//! The edits both devices make while they cannot see each other, and what must be true afterwards.

use lifeos_client_core::client::{Client, ClientError, Note, NoteDraft};
use serde_json::Value;

use super::journal::Journal;
use super::scene::Scene;
use super::setup::Device;
use crate::failure::Failure;

/// One of the two devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first: writes at the beginning of notes, ticks the first todo, trashes.
    Laptop,
    /// The second: writes at the end of notes, ticks the last todo, edits what the other trashes.
    Phone,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Laptop, Self::Phone];

    /// Name in marks, tags and properties.
    const fn name(self) -> &'static str {
        match self {
            Self::Laptop => "laptop",
            Self::Phone => "phone",
        }
    }

    /// A word that only this side of this run writes, and only into this note.
    fn word(self, scene: &Scene, place: &str) -> String {
        format!("offline{}{place}{}", self.name(), scene.mark)
    }

    fn title(self) -> String {
        format!("Demo: renamed on the {}", self.name())
    }

    fn tag(self) -> String {
        format!("from-{}", self.name())
    }
}

/// All edits of one side; returns how many.
///
/// # Errors
/// [`ClientError`].
pub fn make(client: &Client, side: Side, scene: &Scene) -> Result<u64, ClientError> {
    for (at, id) in scene.texts.iter().enumerate() {
        let note = client.note(id)?;
        client.note_set_markdown(id, &with_word(&note.markdown, side, &side.word(scene, &at.to_string())))?;
    }
    let mut edits = scene.texts.len() as u64;
    edits += edit_fields(client, side, scene)?;
    edits += edit_places(client, side, scene)?;
    edits += edit_lives(client, side, scene)?;
    Ok(edits)
}

/// Title, tag, property and todo.
fn edit_fields(client: &Client, side: Side, scene: &Scene) -> Result<u64, ClientError> {
    client.note_set_title(&scene.fields, &side.title())?;
    client.note_tag(&scene.fields, &side.tag(), true)?;
    client.note_set_property(&scene.fields, &side.tag(), Some(Value::from(side.word(scene, "property"))))?;
    let todo = if side == Side::Laptop { 0 } else { 2 };
    client.note_set_todo(&scene.todos, todo, true)?;
    Ok(4)
}

/// Notebooks: each side moves one into the other, which together would be a cycle.
fn edit_places(client: &Client, side: Side, scene: &Scene) -> Result<u64, ClientError> {
    let [one, two] = &scene.notebooks;
    match side {
        Side::Laptop => {
            client.notebook_move(one, Some(two), None)?;
            client.note_move(&scene.todos, Some(one))?;
        }
        Side::Phone => {
            client.notebook_move(two, Some(one), None)?;
            client.notebook_rename(two, &side.word(scene, "notebook"))?;
        }
    }
    Ok(2)
}

/// A note trashed here and edited there; a new note on each side.
fn edit_lives(client: &Client, side: Side, scene: &Scene) -> Result<u64, ClientError> {
    match side {
        Side::Laptop => client.note_trash(&scene.bin, true)?,
        Side::Phone => {
            let note = client.note(&scene.bin)?;
            client.note_set_markdown(&scene.bin, &with_word(&note.markdown, side, &side.word(scene, "bin")))?;
        }
    }
    let markdown = format!("Written while offline: {}\n", side.word(scene, "new"));
    client.note_create(NoteDraft {
        title: format!("Demo: new on the {}", side.name()),
        markdown,
        ..NoteDraft::default()
    })?;
    Ok(2)
}

/// The laptop writes a first paragraph, the phone a last one.
fn with_word(markdown: &str, side: Side, word: &str) -> String {
    match side {
        Side::Laptop => {
            let (front, body) = markdown.split_at(front_matter_bytes(markdown));
            format!("{front}{word}\n\n{body}")
        }
        Side::Phone => format!("{}\n\n{word}\n", markdown.trim_end_matches('\n')),
    }
}

/// Length of a leading `---` block with the line that ends it; 0 without one.
fn front_matter_bytes(markdown: &str) -> usize {
    let mut lines = markdown.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else { return 0 };
    let mut bytes = first.len();
    for line in lines {
        bytes += line.len();
        if line.trim_end() == "---" {
            return bytes;
        }
    }
    0
}

/// What must be true on both devices after they have met again.
///
/// # Errors
/// [`Failure`] when something cannot even be read; what does not hold is a check in the journal.
pub fn verify(journal: &mut Journal, devices: &[&Device; 2], scene: &Scene) -> Result<(), Failure> {
    for device in devices {
        let client = &device.client;
        let on = |what: &str| format!("{what} ({})", short_name(device));
        let texts = count_merged_texts(client, scene)?;
        let detail = format!("{texts} of {} notes hold what both wrote, once", scene.texts.len());
        journal.check(&on("both texts are there"), texts == scene.texts.len(), detail)?;
        let (ok, detail) = todos_held(&client.note(&scene.todos)?);
        journal.check(&on("both ticks are there"), ok, detail)?;
        let (ok, detail) = fields_held(&client.note(&scene.fields)?, scene);
        journal.check(&on("both tags and properties"), ok, detail)?;
        let (ok, detail) = bin_held(&client.note(&scene.bin)?, scene);
        journal.check(&on("trashed, edit kept"), ok, detail)?;
        let (ok, detail) = notebooks_held(client, scene)?;
        journal.check(&on("notebooks stay a tree"), ok, detail)?;
    }
    Ok(())
}

/// The first word of a device's name: the canary in it is not for the eye.
fn short_name(device: &Device) -> &str {
    device.name.split(' ').next().unwrap_or_default()
}

fn count_merged_texts(client: &Client, scene: &Scene) -> Result<usize, ClientError> {
    let mut merged = 0;
    for (at, id) in scene.texts.iter().enumerate() {
        let markdown = client.note(id)?.markdown;
        let once = |side: &Side| markdown.matches(&side.word(scene, &format!("{at}"))).count() == 1;
        merged += usize::from(Side::BOTH.iter().all(once));
    }
    Ok(merged)
}

fn todos_held(note: &Note) -> (bool, String) {
    let wanted = ["- [x] passport", "- [ ] charger", "- [x] umbrella"];
    let ok = wanted.iter().all(|line| note.markdown.lines().any(|found| found == *line));
    (ok, if ok { "first and last of three ticked".into() } else { note.markdown.clone() })
}

fn fields_held(note: &Note, scene: &Scene) -> (bool, String) {
    let held = |side: &Side| {
        let value = Value::from(side.word(scene, "property"));
        note.tags.contains(&side.tag())
            && note.properties.iter().any(|(name, set)| *name == side.tag() && *set == value)
    };
    let title_ok = Side::BOTH.iter().any(|side| note.title == side.title());
    (title_ok && Side::BOTH.iter().all(held), format!("title is now \"{}\"; tags {}", note.title, note.tags.join(" ")))
}

fn bin_held(note: &Note, scene: &Scene) -> (bool, String) {
    let kept = note.markdown.contains(&Side::Phone.word(scene, "bin"));
    let ok = note.trashed_ms.is_some() && note.edited_after_trash && kept;
    let detail = format!(
        "in the trash: {}, marked as edited since: {}, edit there: {kept}",
        note.trashed_ms.is_some(),
        note.edited_after_trash
    );
    (ok, detail)
}

/// Both are living, one under the other or side by side, and one of the two moves was taken back.
fn notebooks_held(client: &Client, scene: &Scene) -> Result<(bool, String), ClientError> {
    let tree = client.notebooks()?;
    let ours: Vec<_> = tree.iter().filter(|notebook| scene.notebooks.contains(&notebook.id)).collect();
    let at_top = ours.iter().filter(|notebook| notebook.parent.is_none()).count();
    let renamed = ours.iter().any(|notebook| notebook.name == Side::Phone.word(scene, "notebook"));
    let recovered = ours.iter().filter(|notebook| notebook.recovered).count();
    let detail = format!("{} of 2 there, {at_top} at the top, {recovered} marked as moved both ways", ours.len());
    Ok((ours.len() == 2 && at_top >= 1 && renamed && recovered >= 1, detail))
}

/// A word each side wrote offline, with the note it must be found in by the other.
#[must_use]
pub fn search_words(side: Side, scene: &Scene) -> Vec<(String, Option<String>)> {
    let mut words = vec![(side.word(scene, "new"), None)];
    if let Some(id) = scene.texts.first() {
        words.push((side.word(scene, "0"), Some(id.clone())));
    }
    words
}

/// Every word either side wrote offline: none may be readable at the relay.
#[must_use]
pub fn words_written(scene: &Scene) -> Vec<String> {
    let places = ["property", "bin", "new", "notebook", "0"];
    Side::BOTH.iter().flat_map(|side| places.iter().map(|place| side.word(scene, place))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laptop_writes_after_front_matter_and_the_phone_at_the_end() {
        let markdown = "---\ntitle: x\n---\nBody\n";
        assert_eq!(with_word(markdown, Side::Laptop, "W"), "---\ntitle: x\n---\nW\n\nBody\n");
        assert_eq!(with_word(markdown, Side::Phone, "W"), "---\ntitle: x\n---\nBody\n\nW\n");
        assert_eq!(with_word("Body", Side::Laptop, "W"), "W\n\nBody");
    }

    #[test]
    fn a_rule_at_the_top_is_not_front_matter() {
        assert_eq!(front_matter_bytes("---\nBody\n"), 0);
        assert_eq!(front_matter_bytes("text\n---\n"), 0);
        assert_eq!(front_matter_bytes("---\r\na: b\r\n---\r\nBody"), 16);
    }

    #[test]
    fn the_words_of_both_sides_are_long_enough_to_be_canaries_and_all_different() {
        let scene = Scene { mark: "0123456789abcdef".into(), ..Scene::default() };
        let words = words_written(&scene);
        let different: std::collections::BTreeSet<_> = words.iter().collect();
        assert_eq!(different.len(), words.len());
        assert!(words.iter().all(|word| word.len() >= 16));
    }
}
