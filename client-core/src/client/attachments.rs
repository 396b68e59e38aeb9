//! Attachments: a file becomes sealed parts and a reference in a note; parts become a file again.
//!
//! ```text
//! attach  file ─ hash ─▶ held, or attached elsewhere already? ─ no ─▶ part by part: sealed, kept ─▶ one commit refers to it
//! fetch   wanted ─▶ sync, here or in the process that syncs already ─▶ held
//! save    part by part: opened, hashed, written beside the place ─ the hash is right ─▶ renamed
//! ```
//! Never more than one part of a file is in memory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, SpaceId};

use super::notes::edit_note_in;
use super::{Attachment, AttachmentCache, Client, ClientError, Progress, ProgressStep};
use crate::crypto::{PlainHasher, SystemRandom};
use crate::engine::{EngineError, Tally, check_taken, sync_once, tidy_attachments, wall_ms};
use crate::envelope::seal_object;
use crate::export::portable;
use crate::modules::attachment::{
    self, ContentHash, PART_BYTES, PartList, SIZE_MAX, SPACE_PARTS_MAX, attachment_doc, decode_part, encode_part,
};
use crate::modules::notes::attachments;
use crate::registry::ATTACHMENT_GENESIS;
use crate::store::{AttachmentRow, NoteAttachmentRow, Reads, Step, StoreError, Tx};

/// Shortest beginning of a hash that is taken for one.
const PREFIX_CHARS_MIN: usize = 4;
/// While another process syncs, so long is waited for the next part before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it came.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A content that a note is to refer to.
pub(super) struct Attached {
    pub(super) content: ContentHash,
    pub(super) name: String,
    pub(super) media: &'static str,
    /// What it consists of, where that is to be written.
    pub(super) list: Option<PartList>,
}

impl Client {
    /// Attaches a file to a note, under its own name or another. Done when it returns: its parts are on the disk, sealed,
    /// and go to the relays with the next sync. What is attached in this space already costs nothing.
    /// # Errors
    /// [`ClientError::Invalid`] for what is no file or is too large; [`ClientError::Storage`].
    pub fn note_attach(
        &self,
        id: &str,
        file: &Path,
        name: Option<&str>,
        progress: Progress<'_>,
    ) -> Result<Attachment, ClientError> {
        let note = self.note_id(id)?;
        let own_name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.map_or(own_name, str::to_owned);
        let (content, size) = hash_file(file, progress)?;
        let list = self.take_in(file, (&content, size), progress)?;
        let media = attachment::media_of(&name);
        let attached = Attached { content, media, name, list };
        self.write(|tx| {
            self.set_attached_parts(tx, &attached)?;
            edit_note_in(tx, &note, |doc| Ok(attachments::attach(doc, &content, &attached.name)?))
        })?;
        let (reader, space) = (self.shared.reader(), self.space());
        let reads = reader.reads();
        let here = reads.notes_attaching(&space, Some(&note), &content)?.into_iter().next();
        let here = here.ok_or_else(|| ClientError::not_found("attachment that was just added"))?;
        Ok(attachment(&reads, &space, here)?)
    }

    /// Has the parts of a file here, sealed; what it consists of, if nobody said so before.
    pub(super) fn take_in(
        &self,
        file: &Path,
        (content, size): (&ContentHash, u64),
        progress: Progress<'_>,
    ) -> Result<Option<PartList>, ClientError> {
        match self.known_parts(content)? {
            Some(_) => Ok(None),
            None => self.seal_parts(file, (content, size), progress).map(Some),
        }
    }

    /// Has a note refer to contents, and to others no longer, in one commit.
    pub(super) fn refer(
        &self,
        note: &DocId,
        attached: &[Attached],
        gone: &[ContentHash],
        step: Step,
    ) -> Result<(), ClientError> {
        self.write(|tx| {
            tx.step(step);
            attached.iter().try_for_each(|attached| self.set_attached_parts(tx, attached))?;
            edit_note_in(tx, note, |doc| {
                gone.iter().try_for_each(|content| attachments::detach(doc, content))?;
                attached.iter().try_for_each(|attached| attachments::attach(doc, &attached.content, &attached.name))?;
                Ok(())
            })
        })
    }

    fn set_attached_parts(&self, tx: &mut Tx<'_>, attached: &Attached) -> Result<(), ClientError> {
        let Some(list) = &attached.list else { return Ok(()) };
        let doc = attachment_doc(&self.space(), &attached.content);
        tx.edit(&doc, ATTACHMENT_GENESIS, |doc| {
            Ok::<_, ClientError>(attachment::set_parts(doc, &attached.content, attached.media, list)?)
        })
    }

    /// What a content consists of, if it need not be sealed again: its parts are here, or a note in this space attaches it
    /// and they are fetched, so that this device can stand for them, too.
    fn known_parts(&self, content: &ContentHash) -> Result<Option<AttachmentRow>, ClientError> {
        let (mut store, space) = (self.shared.store(), self.space());
        let Some(known) = store.reads().attachment(&space, content)? else { return Ok(None) };
        if known.held().is_some() {
            return Ok(Some(known));
        }
        if !store.reads().is_attached(&space, content, wall_ms())? {
            return Ok(None);
        }
        store.want_attachment(&space, content, true)?;
        Ok(Some(known))
    }

    /// Cuts a file into parts, seals and keeps each.
    fn seal_parts(
        &self,
        file: &Path,
        (content, size): (&ContentHash, u64),
        progress: Progress<'_>,
    ) -> Result<PartList, ClientError> {
        let (space, state, keys) = (self.space(), self.shared.state(), &self.shared.keys);
        let total = PartList::parts_of(size);
        let is_too_much = |parts: u64| parts + total > SPACE_PARTS_MAX as u64;
        let listed = self.shared.reader().reads().listed_parts(&space)?;
        // What nothing refers to any more does not count, and is looked for only when it matters.
        let live = || Ok::<_, StoreError>(self.shared.reader().reads().live_parts(&space, wall_ms())?.len() as u64);
        if is_too_much(listed) && is_too_much(live()?) {
            return Err(ClientError::invalid(
                "the attachments of this space would be more than it can hold (about 15 GiB): remove some, or use another space",
            ));
        }
        let key = state.seal_key(keys).map_err(EngineError::from)?;
        check_taken(&self.shared, &state.membership, key.epoch())?;
        let place = self.shared.store().part_place(&space, key.epoch())?;
        let mut source = File::open(file).map_err(|error| file_error(file, &error))?;
        let (mut list, mut random) = (PartList { size, parts: Vec::new() }, SystemRandom::new());
        let (mut hasher, mut buffer) = (PlainHasher::new(), vec![0; PART_BYTES]);
        for number in 0..total {
            let bytes = list.bytes_of(usize::try_from(number).unwrap_or(usize::MAX));
            let part = buffer.get_mut(..bytes).unwrap_or_default();
            source.read_exact(part).map_err(|error| file_error(file, &error))?;
            hasher.update(&*part);
            let at = u32::try_from(number).unwrap_or(u32::MAX);
            let body = encode_part(content, at, part);
            let sealed = seal_object(&space, &place, keys, key.secret(), &body, &mut random);
            let sealed = sealed.map_err(StoreError::from)?;
            self.shared.store().keep_part(&space, &sealed, (content, at), wall_ms())?;
            list.parts.push(sealed.id);
            progress(ProgressStep { phase: "attach", done: number + 1, total });
        }
        if hasher.finish() != content.0 {
            return Err(ClientError::invalid(format!("{} changed while it was read: try again", file.display())));
        }
        Ok(list)
    }

    /// The attachments of a note, by name.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn note_attachments(&self, id: &str) -> Result<Vec<Attachment>, ClientError> {
        let note = self.note_id(id)?;
        self.attachments_of(Some(&note))
    }

    /// The attachments of all living notes, by note and name.
    /// # Errors
    /// [`ClientError`].
    pub fn attachments(&self) -> Result<Vec<Attachment>, ClientError> {
        self.attachments_of(None)
    }

    fn attachments_of(&self, note: Option<&DocId>) -> Result<Vec<Attachment>, ClientError> {
        let (reader, space) = (self.shared.reader(), self.space());
        let reads = reader.reads();
        let rows = reads.note_attachments(&space, note)?;
        rows.into_iter().map(|row| Ok(attachment(&reads, &space, row)?)).collect()
    }

    /// Takes an attachment away from a note. Its parts go from the relays after the next checkpoint's grace period, and
    /// from devices after a month, unless something else refers to them.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn note_detach(&self, id: &str, hash: &str) -> Result<(), ClientError> {
        let note = self.note_id(id)?;
        let content = self.content(Some(&note), hash)?.hash;
        self.write(|tx| edit_note_in(tx, &note, |doc| Ok(attachments::detach(doc, &content)?)))
    }

    /// Keeps an attachment on this device whatever the cache limit says, and fetches it with the next sync; or no longer.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn attachment_pin(&self, hash: &str, pinned: bool) -> Result<(), ClientError> {
        let content = self.content(None, hash)?.hash;
        self.shared.store().pin_attachment(&self.space(), &content, pinned)?;
        Ok(())
    }

    /// Fetches the parts of an attachment that are not here. What has come stays when it is cut off, and the next sync, or
    /// the next call, goes on.
    /// # Errors
    /// [`ClientError::NotFound`]; [`ClientError::Network`] when no relay that can be reached holds all of them.
    pub async fn attachment_fetch(&self, hash: &str, progress: Progress<'_>) -> Result<(), ClientError> {
        let content = self.content(None, hash)?.hash;
        if self.is_here(&content)? {
            return Ok(());
        }
        self.shared.store().want_attachment(&self.space(), &content, true)?;
        match sync_once(&self.shared, &mut *progress, &mut Tally::default()).await {
            Err(EngineError::Locked) => self.until_fetched(&content, progress).await?,
            outcome => drop(outcome?),
        }
        if !self.is_here(&content)? {
            let lacks = self.shared.reader().reads().attachment(&self.space(), &content)?;
            let (missing, all) = lacks.ok_or(StoreError::AttachmentUnknown)?.lacks();
            return Err(StoreError::AttachmentAway { missing, all }.into());
        }
        let (mut store, space) = (self.shared.store(), self.space());
        if !store.reads().attachment(&space, &content)?.is_some_and(|found| found.pinned) {
            store.want_attachment(&space, &content, false)?;
        }
        Ok(())
    }

    /// Another process syncs this home: it sees what is wanted.
    async fn until_fetched(&self, content: &ContentHash, progress: Progress<'_>) -> Result<(), ClientError> {
        let (mut before, mut since) = (None, Instant::now());
        while since.elapsed() < PATIENCE {
            let found = self.shared.reader().reads().attachment(&self.space(), content)?;
            let lacks = found.map(|found| found.lacks());
            if let Some((missing, all)) = lacks {
                progress(ProgressStep { phase: "fetch", done: all - missing, total: all });
                if missing == 0 {
                    break;
                }
            }
            if lacks != before {
                (before, since) = (lacks, Instant::now());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn is_here(&self, content: &ContentHash) -> Result<bool, ClientError> {
        let found = self.shared.reader().reads().attachment(&self.space(), content)?;
        Ok(found.is_some_and(|found| found.held().is_some()))
    }

    /// Writes the content of an attachment that is here, part by part. What was written before an error is of no use.
    /// # Errors
    /// [`ClientError::NotFound`]; [`ClientError::Network`] when parts are not here: [`Self::attachment_fetch`] gets them;
    /// [`ClientError::Security`] when what is here is not what the hash says.
    pub fn attachment_write(
        &self,
        hash: &str,
        out: &mut dyn Write,
        progress: Progress<'_>,
    ) -> Result<Attachment, ClientError> {
        let row = self.content(None, hash)?;
        self.write_content(&row.hash, out, progress)?;
        Ok(attachment(&self.shared.reader().reads(), &self.space(), row)?)
    }

    /// The same for a content.
    pub(super) fn write_content(
        &self,
        hash: &ContentHash,
        out: &mut dyn Write,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let space = self.space();
        let found = self.shared.reader().reads().attachment(&space, hash)?;
        let found = found.ok_or(StoreError::AttachmentUnknown)?;
        let lists: Vec<&PartList> =
            found.lists.iter().zip(&found.missing).filter(|(_, missing)| missing.is_empty()).map(|(l, _)| l).collect();
        if lists.is_empty() {
            let (missing, all) = found.lacks();
            return Err(StoreError::AttachmentAway { missing, all }.into());
        }
        // Whoever may write can say that something wrong is the content: the first list that gives it is taken.
        let (mut good, mut wrong) = (None, None);
        for list in lists {
            match self.check_content(hash, list) {
                Ok(()) => {
                    good = Some(list);
                    break;
                }
                Err(error @ ClientError::Security { .. }) => {
                    wrong.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(list) = good else {
            return Err(wrong.unwrap_or_else(|| StoreError::AttachmentUnknown.into()));
        };
        let mut done = 0;
        self.each_part(hash, list, &mut |bytes| {
            out.write_all(bytes).map_err(|error| write_error(&error))?;
            done += bytes.len() as u64;
            progress(ProgressStep { phase: "write", done, total: list.size });
            Ok(())
        })?;
        Ok(self.shared.store().used_parts(&space, list, wall_ms())?)
    }

    /// Whether a list of parts gives the content whose hash this is.
    fn check_content(&self, content: &ContentHash, list: &PartList) -> Result<(), ClientError> {
        let mut hasher = PlainHasher::new();
        self.each_part(content, list, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        let is_right = hasher.finish() == content.0;
        let wrong = StoreError::AttachmentDamaged { what: "its bytes do not have its hash" };
        if is_right { Ok(()) } else { Err(wrong.into()) }
    }

    fn each_part(
        &self,
        content: &ContentHash,
        list: &PartList,
        take: &mut dyn FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let (space, state) = (self.space(), self.shared.state());
        for (number, id) in list.parts.iter().enumerate() {
            let keys = (&state.membership, &state.keyring);
            let body = self.shared.reader().reads().part_body(&space, id, keys)?;
            let bytes = decode_part(content, u32::try_from(number).unwrap_or(u32::MAX), &body)
                .filter(|bytes| bytes.len() == list.bytes_of(number));
            take(bytes.ok_or(StoreError::AttachmentDamaged { what: "a part of something else" })?)?;
        }
        Ok(())
    }

    /// Saves an attachment that is here as a file: at `path`, or in it under the attachment's name if it is a folder.
    /// Whatever the name says, nothing is written outside the folder. The file is whole or not there.
    /// # Errors
    /// As [`Self::attachment_write`]; [`ClientError::Invalid`] when there is such a file and it is not to be replaced.
    pub fn attachment_save(
        &self,
        hash: &str,
        path: &Path,
        replace: bool,
        progress: Progress<'_>,
    ) -> Result<PathBuf, ClientError> {
        let row = self.content(None, hash)?;
        let target = if path.is_dir() { path.join(portable(&row.name)) } else { path.to_owned() };
        if !replace && target.symlink_metadata().is_ok() {
            let message = format!("{} is there already: name another place, or replace it", target.display());
            return Err(ClientError::invalid(message));
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let partial = folder.join(format!(".lifeos-{:.16}.part", row.hash.to_string()));
        let written = self.write_partial(&row.hash.to_string(), &partial, progress).and_then(|()| {
            fs::rename(&partial, &target).map_err(|error| write_error(&error))?;
            // The name is durable with the folder.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| write_error(&error))
        });
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written.map(|()| target)
    }

    fn write_partial(&self, hash: &str, partial: &Path, progress: Progress<'_>) -> Result<(), ClientError> {
        let _ = fs::remove_file(partial);
        let out = OpenOptions::new().write(true).create_new(true).open(partial);
        let mut out = out.map_err(|error| write_error(&error))?;
        self.attachment_write(hash, &mut out, progress)?;
        out.sync_all().map_err(|error| write_error(&error))
    }

    /// Where parts of attachments stand on this device.
    /// # Errors
    /// [`ClientError`].
    pub fn attachment_cache(&self) -> Result<AttachmentCache, ClientError> {
        Ok(cache(&self.shared.reader().reads(), &self.space(), wall_ms())?)
    }

    /// Says how many bytes parts of attachments may take in this home, and makes room at once.
    /// # Errors
    /// [`ClientError`].
    pub fn set_attachment_limit(&self, bytes: u64) -> Result<AttachmentCache, ClientError> {
        self.shared.store().set_cache_limit(bytes)?;
        self.tidy_attachments_at(wall_ms())?;
        self.attachment_cache()
    }

    /// Drops parts that nothing has referred to for a month at a time (ms UTC), and those above the cache limit that a
    /// relay holds; every sync does so. Gives the bytes that went.
    /// # Errors
    /// [`ClientError`].
    pub fn tidy_attachments_at(&self, now_ms: i64) -> Result<u64, ClientError> {
        Ok(tidy_attachments(&self.shared, now_ms)?)
    }

    /// The ids of the parts that an attachment consists of, in order.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn attachment_parts(&self, hash: &str) -> Result<Vec<EnvelopeId>, ClientError> {
        let content = self.content(None, hash)?.hash;
        let found = self.shared.reader().reads().attachment(&self.space(), &content)?;
        let list = found.and_then(|found| found.lists.into_iter().next());
        Ok(list.ok_or(StoreError::AttachmentUnknown)?.parts)
    }

    /// The attachment that a hash, the beginning of one, or a name means.
    fn content(&self, note: Option<&DocId>, wanted: &str) -> Result<NoteAttachmentRow, ClientError> {
        let (reader, space) = (self.shared.reader(), self.space());
        if let Ok(hash) = wanted.parse::<ContentHash>()
            && let Some(row) = reader.reads().notes_attaching(&space, note, &hash)?.into_iter().next()
        {
            return Ok(row);
        }
        let rows = reader.reads().note_attachments(&space, note)?;
        let prefix = wanted.trim().to_ascii_lowercase();
        let is_prefix = prefix.len() >= PREFIX_CHARS_MIN && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        let by_hash = |row: &&NoteAttachmentRow| is_prefix && row.hash.to_string().starts_with(&prefix);
        let mut found: Vec<&NoteAttachmentRow> = rows.iter().filter(by_hash).collect();
        if found.is_empty() {
            found = rows.iter().filter(|row| row.name == wanted).collect();
        }
        match found.split_first() {
            None => Err(ClientError::not_found(format!("attachment {wanted}"))),
            Some((first, rest)) if rest.iter().all(|row| row.hash == first.hash) => Ok((*first).clone()),
            Some(_) => Err(ClientError::invalid("more than one attachment is meant: give more characters of its hash")),
        }
    }
}

fn attachment(reads: &Reads<'_>, space: &SpaceId, row: NoteAttachmentRow) -> Result<Attachment, StoreError> {
    let found = reads.attachment(space, &row.hash)?;
    let (missing, parts) = found.as_ref().map(AttachmentRow::lacks).unwrap_or_default();
    Ok(Attachment {
        hash: row.hash.to_string(),
        name: row.name,
        note: row.note.to_string(),
        note_title: row.note_title,
        size: found.as_ref().and_then(|found| found.lists.first()).map(|list| list.size),
        parts,
        parts_here: parts - missing,
        pinned: found.as_ref().is_some_and(|found| found.pinned),
        media: found.map(|found| found.media).unwrap_or_default(),
    })
}

pub(super) fn cache(reads: &Reads<'_>, space: &SpaceId, now_ms: i64) -> Result<AttachmentCache, StoreError> {
    let held = reads.parts(space, now_ms)?;
    Ok(AttachmentCache {
        limit_bytes: reads.cache_limit()?,
        bytes: held.bytes,
        parts: held.parts,
        unsent: held.unsent,
        wanted: held.wanted,
    })
}

/// The hash and size of a file, read once.
pub(super) fn hash_file(path: &Path, progress: Progress<'_>) -> Result<(ContentHash, u64), ClientError> {
    let mut file = File::open(path).map_err(|error| file_error(path, &error))?;
    let metadata = file.metadata().map_err(|error| file_error(path, &error))?;
    if !metadata.is_file() {
        return Err(ClientError::invalid(format!("{} is no file: attach files one by one", path.display())));
    }
    let too_large =
        || ClientError::invalid(format!("{} is larger than an attachment may be (close to 2 GiB)", path.display()));
    if metadata.len() > SIZE_MAX {
        return Err(too_large());
    }
    let (mut hasher, mut buffer, mut size) = (PlainHasher::new(), vec![0; PART_BYTES], 0_u64);
    loop {
        let bytes = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(file_error(path, &error)),
        };
        size += bytes as u64;
        if size > SIZE_MAX {
            return Err(too_large());
        }
        hasher.update(buffer.get(..bytes).unwrap_or_default());
        progress(ProgressStep { phase: "hash", done: size, total: metadata.len() });
    }
    Ok((ContentHash(hasher.finish()), size))
}

fn file_error(path: &Path, error: &io::Error) -> ClientError {
    ClientError::invalid(format!("{} cannot be read ({error}): check the path and its permissions", path.display()))
}

fn write_error(error: &io::Error) -> ClientError {
    let message = format!("the attachment cannot be written ({error}): check the folder and the free space");
    ClientError::Storage { message, transient: error.kind() == io::ErrorKind::StorageFull }
}
