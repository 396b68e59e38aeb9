//! The encrypted backup file: a whole home in one file, opened by the recovery phrase or a passphrase (protocol §7.3).
//!
//! ```text
//! file    = header ‖ chunk 0 ‖ chunk 1 … ‖ last chunk
//! header  = "LSBACKUP" ‖ u8 version = 1 ‖ u8 number of locks (1 … 8) ‖ locks
//! lock    = 0 ‖ enc 32 ‖ ct 48         HPKE base mode to a recovery key, info = ctx("backup-key"), aad = magic ‖ version
//!         | 1 ‖ u32 memory_kib ‖ u32 passes ‖ u32 lanes ‖ salt 16 ‖ ct 48
//!                                      ChaCha20-Poly1305(key of the passphrase for "backup-key", nonce 0,
//!                                      aad = magic ‖ version ‖ the lock up to here)
//!           each opens to the file key, 32 random bytes
//! chunk i = ChaCha20-Poly1305(HKDF(ctx("backup"), file key, ctx("backup-chunks") ‖ SHA-256(ctx("backup-header") ‖ header)),
//!           nonce = u88 i ‖ u8 last)    65,536 bytes of plaintext, fewer in the last
//! content = u32 length ‖ CBOR {1: space 32, 2: device 32, 3: device root 32, 4: made at (ms UTC)} ‖ database
//! ```
//! Nothing in the clear says whose file it is or how many documents it holds; its size shows how large the database is.
//! Whoever knows a recovery key's public half can make a file that its words open. What is inside counts only if the
//! root is an enrolled device's of that very space, which only somebody with that device's key can achieve.

use std::io::{self, Read, Write};

use lifeos_sync_protocol::hash::{ctx, sha256};
use lifeos_sync_protocol::ids::{HpkePk, SignPk, SpaceId};
use zeroize::Zeroizing;

use crate::cbor::{CborError, Reader, Writer};
use crate::crypto::{
    CHUNK_BYTES, ChunkKey, CryptoError, HpkeKey, Random, TAG_BYTES, hkdf_sha256, hpke_open, hpke_seal, open_once,
    random_bytes, seal_once,
};
use crate::keys::{DeviceKeys, DeviceRoot};
use crate::keystore::{Passphrase, PassphraseCost, SALT_BYTES};

#[cfg(test)]
mod tests;

const MAGIC: &[u8; 8] = b"LSBACKUP";
const VERSION: u8 = 1;
const LOCKS_MAX: usize = 8;
const WRAPPED_BYTES: usize = 48;
const PURPOSE: &str = "backup-key";
const CONTENT_HEAD_BYTES_MAX: usize = 1024;
/// Locks whose Argon2id cost is spent when a file is opened: one person, one passphrase, perhaps a second.
const PASSPHRASES_TRIED_MAX: usize = 2;

/// A backup cannot be written or read. The messages tell a person what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Some other file.
    #[error("this file is no backup of Life OS: choose the file that `lifeos backup` wrote")]
    NotABackup,
    /// Written by a newer version.
    #[error("this backup was written by a newer version: update")]
    NewerVersion,
    /// No lock opens.
    #[error(
        "the words or the passphrase do not open this backup: it may be another person's, or made before the words were replaced; nothing was restored"
    )]
    WrongKey,
    /// It ends too early.
    #[error("the backup is cut short: nothing was restored; copy the file again, or use an older one")]
    Truncated,
    /// Not the bytes that were written.
    #[error("the backup was altered or is damaged: nothing was restored; copy the file again, or use an older one")]
    Altered,
    /// It opened, and what is inside does not belong together.
    #[error("the backup holds no sound home ({0}): nothing was restored; use an older one")]
    Unsound(&'static str),
    /// Nothing to protect it with.
    #[error("a backup needs the recovery phrase's key or a passphrase to be sealed to")]
    NoLock,
    /// The file cannot be read or written.
    #[error("the backup file cannot be read or written: check its place, permissions and the free space")]
    Io(#[source] io::Error),
}

impl From<CryptoError> for BackupError {
    fn from(_: CryptoError) -> Self {
        Self::Altered
    }
}

impl From<CborError> for BackupError {
    fn from(_: CborError) -> Self {
        Self::Unsound("its first bytes")
    }
}

/// What will open a backup.
#[derive(Debug, Clone)]
pub enum Lock {
    /// The words whose recovery key has this public half.
    Recovery(HpkePk),
    /// A passphrase, at this cost a guess.
    Passphrase(Passphrase, PassphraseCost),
}

/// What opens a backup.
pub enum Opener<'a> {
    /// Keys derived from the words.
    Recovery(&'a DeviceKeys),
    /// A passphrase.
    Passphrase(&'a Passphrase),
}

/// What a backup says before the database.
pub struct Content {
    /// The home space.
    pub space: SpaceId,
    /// The device whose home it is.
    pub device: SignPk,
    /// Its root.
    pub root: DeviceRoot,
    /// When it was made (ms UTC).
    pub made_ms: i64,
}

fn bound() -> [u8; 9] {
    let mut out = [VERSION; 9];
    out[..8].copy_from_slice(MAGIC);
    out
}

fn write_lock(out: &mut Vec<u8>, lock: &Lock, file_key: &[u8; 32], random: &mut dyn Random) -> Result<(), CryptoError> {
    match lock {
        Lock::Recovery(key) => {
            let sealed = hpke_seal(key, None, &ctx(PURPOSE), &bound(), file_key, random)?;
            out.push(0);
            out.extend_from_slice(&sealed.enc);
            out.extend_from_slice(&sealed.ct);
        }
        Lock::Passphrase(passphrase, cost) => {
            let salt: [u8; SALT_BYTES] = random_bytes(random);
            let key = passphrase.derive_key(*cost, &salt, PURPOSE)?;
            let head = [&[1][..], &cost.to_bytes(), &salt].concat();
            let mut wrapped = file_key.to_vec();
            seal_once(&key, &[&bound()[..], &head].concat(), &mut wrapped)?;
            out.extend_from_slice(&head);
            out.extend_from_slice(&wrapped);
        }
    }
    Ok(())
}

fn chunk_key(file_key: &[u8; 32], header: &[u8]) -> Result<ChunkKey, CryptoError> {
    let digest = sha256("backup-header", &[header]);
    ChunkKey::new(&hkdf_sha256(&ctx("backup"), file_key, &[&ctx("backup-chunks"), &digest]))
}

/// Writes a backup: the database is read from `database` to its end. `progress` gets the bytes read so far.
///
/// # Errors
/// [`BackupError::NoLock`], [`BackupError::Io`].
pub fn write_backup(
    out: &mut dyn Write,
    locks: &[Lock],
    content: &Content,
    database: &mut dyn Read,
    random: &mut dyn Random,
    progress: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    if locks.is_empty() || locks.len() > LOCKS_MAX {
        return Err(BackupError::NoLock);
    }
    let file_key = Zeroizing::new(random_bytes::<32>(random));
    let mut header = [&bound()[..], &[locks.len() as u8]].concat();
    for lock in locks {
        write_lock(&mut header, lock, &file_key, random)?;
    }
    out.write_all(&header).map_err(BackupError::Io)?;
    let mut chunks = ChunkWriter { out, key: chunk_key(&file_key, &header)?, number: 0, pending: Vec::new() };
    let head = encode_content(content);
    chunks.write(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes())?;
    chunks.write(&head)?;
    let (mut buffer, mut done) = (Zeroizing::new(vec![0; CHUNK_BYTES]), 0);
    loop {
        let count = database.read(&mut buffer).map_err(BackupError::Io)?;
        if count == 0 {
            return chunks.finish();
        }
        chunks.write(&buffer[..count])?;
        done += count as u64;
        progress(done);
    }
}

fn encode_content(content: &Content) -> Zeroizing<Vec<u8>> {
    let mut out = Writer::default();
    out.map(4);
    out.uint(1).bytes(&content.space.0).uint(2).bytes(&content.device.0);
    out.uint(3).bytes(&*content.root.to_bytes()).uint(4).uint(u64::try_from(content.made_ms).unwrap_or(0));
    Zeroizing::new(out.finish())
}

fn decode_content(bytes: &[u8]) -> Result<Content, BackupError> {
    let mut reader = Reader::new(bytes);
    let (mut space, mut device, mut root, mut made_ms) = (None, None, None, 0);
    reader.map::<CborError>(|reader, key| {
        match key {
            1 => space = Some(SpaceId(reader.array_of()?)),
            2 => device = Some(SignPk(reader.array_of()?)),
            3 => root = Some(DeviceRoot::from_bytes(reader.array_of()?)),
            4 => made_ms = i64::try_from(reader.uint()?).map_err(|_| CborError)?,
            _ => drop(reader.skip()?),
        }
        Ok(())
    })?;
    reader.end()?;
    let lacks = BackupError::Unsound("its first bytes");
    match (space, device, root) {
        (Some(space), Some(device), Some(root)) => Ok(Content { space, device, root, made_ms }),
        _ => Err(lacks),
    }
}

struct ChunkWriter<'a> {
    out: &'a mut dyn Write,
    key: ChunkKey,
    number: u64,
    pending: Vec<u8>,
}

impl ChunkWriter<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            // A full chunk leaves only when more follows: the last one is marked.
            if self.pending.len() == CHUNK_BYTES {
                self.seal(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn seal(&mut self, last: bool) -> Result<(), BackupError> {
        self.key.seal(self.number, last, &mut self.pending)?;
        self.out.write_all(&self.pending).map_err(BackupError::Io)?;
        self.pending.clear();
        self.number += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<(), BackupError> {
        self.seal(true)?;
        self.out.flush().map_err(BackupError::Io)
    }
}

/// A backup that is being read. Every byte it gives was authenticated; that all of it came is known at the end only.
pub struct BackupReader<R> {
    input: R,
    key: ChunkKey,
    number: u64,
    /// The next chunk as it stands in the file, read ahead: whether it is the last shows in what follows.
    next: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
    given: usize,
    ended: bool,
}

impl<R: Read> BackupReader<R> {
    /// Opens a backup and gives what it says of itself.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(mut input: R, opener: &Opener<'_>) -> Result<(Self, Content), BackupError> {
        let (header, file_key) = read_header(&mut input, opener)?;
        let key = chunk_key(&file_key, &header)?;
        let next = read_up_to(&mut input, CHUNK_BYTES + TAG_BYTES)?;
        let mut reader = Self { input, key, number: 0, next, plain: Zeroizing::default(), given: 0, ended: false };
        let length = u32::from_be_bytes(reader.exactly::<4>()?) as usize;
        if length > CONTENT_HEAD_BYTES_MAX {
            return Err(BackupError::Unsound("its first bytes"));
        }
        let mut head = Zeroizing::new(vec![0; length]);
        reader.fill(&mut head)?;
        let content = decode_content(&head)?;
        Ok((reader, content))
    }

    /// Copies the database to its end into `out`; `progress` gets the bytes written so far.
    ///
    /// # Errors
    /// [`BackupError`]; what was written until then is of no use.
    pub fn copy_to(&mut self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<(), BackupError> {
        let mut done = 0;
        loop {
            let rest = &self.plain[self.given..];
            out.write_all(rest).map_err(BackupError::Io)?;
            done += rest.len() as u64;
            self.given = self.plain.len();
            progress(done);
            if self.ended {
                return out.flush().map_err(BackupError::Io);
            }
            self.open_next()?;
        }
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), BackupError> {
        while !out.is_empty() {
            if self.given == self.plain.len() {
                if self.ended {
                    return Err(BackupError::Unsound("its first bytes"));
                }
                self.open_next()?;
            }
            let count = out.len().min(self.plain.len() - self.given);
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&self.plain[self.given..self.given + count]);
            self.given += count;
            out = later;
        }
        Ok(())
    }

    fn open_next(&mut self) -> Result<(), BackupError> {
        let following = read_up_to(&mut self.input, CHUNK_BYTES + TAG_BYTES)?;
        let mut chunk = std::mem::replace(&mut self.next, following);
        let is_last = self.next.is_empty();
        let whole = chunk.clone();
        if let Err(error) = self.key.open(self.number, is_last, &mut chunk) {
            return Err(self.why(error, is_last, whole));
        }
        self.plain = Zeroizing::new(chunk);
        (self.given, self.ended) = (0, is_last);
        self.number += 1;
        Ok(())
    }

    /// A file that ends with a chunk which is not the last one was cut between two chunks; one cut inside a chunk cannot
    /// be told from an altered one, unless the end is too short to be a chunk at all.
    fn why(&self, error: CryptoError, is_last: bool, mut chunk: Vec<u8>) -> BackupError {
        let cut_between = is_last && self.key.open(self.number, false, &mut chunk).is_ok();
        if cut_between || (is_last && chunk.len() < TAG_BYTES) { BackupError::Truncated } else { error.into() }
    }
}

fn read_header(input: &mut impl Read, opener: &Opener<'_>) -> Result<(Vec<u8>, Zeroizing<[u8; 32]>), BackupError> {
    let mut header = read_up_to(input, MAGIC.len() + 2)?;
    let Some(rest) = header.strip_prefix(MAGIC) else { return Err(BackupError::NotABackup) };
    let [version, locks] = rest else { return Err(BackupError::Truncated) };
    if *version != VERSION {
        return Err(BackupError::NewerVersion);
    }
    let locks = usize::from(*locks);
    if locks == 0 || locks > LOCKS_MAX {
        return Err(BackupError::Altered);
    }
    let (mut file_key, mut tried) = (None, 0);
    for _ in 0..locks {
        let kind = exact::<1>(input)?;
        let bytes = match kind {
            [0] => [&kind[..], &exact::<32>(input)?, &exact::<WRAPPED_BYTES>(input)?].concat(),
            [1] => {
                let lock = exact::<{ PassphraseCost::BYTES + SALT_BYTES }>(input)?;
                [&kind[..], &lock, &exact::<WRAPPED_BYTES>(input)?].concat()
            }
            _ => return Err(BackupError::Altered),
        };
        header.extend_from_slice(&bytes);
        if file_key.is_none() {
            file_key = open_lock(&bytes, opener, &mut tried);
        }
    }
    Ok((header, file_key.ok_or(BackupError::WrongKey)?))
}

fn open_lock(lock: &[u8], opener: &Opener<'_>, tried: &mut usize) -> Option<Zeroizing<[u8; 32]>> {
    let (head, wrapped) = lock.split_last_chunk::<WRAPPED_BYTES>()?;
    let plain = match (head.split_first()?, opener) {
        ((0, enc), Opener::Recovery(keys)) => open_recovery(&keys.hpke, enc.try_into().ok()?, wrapped)?,
        ((1, rest), Opener::Passphrase(passphrase)) if *tried < PASSPHRASES_TRIED_MAX => {
            *tried += 1;
            let (cost, salt) = rest.split_first_chunk::<{ PassphraseCost::BYTES }>()?;
            let key = passphrase.derive_key(PassphraseCost::from_bytes(cost), salt.try_into().ok()?, PURPOSE).ok()?;
            let mut plain = Zeroizing::new(wrapped.to_vec());
            open_once(&key, &[&bound()[..], head].concat(), &mut plain).ok()?;
            plain
        }
        _ => return None,
    };
    Some(Zeroizing::new(plain.as_slice().try_into().ok()?))
}

fn open_recovery(key: &HpkeKey, enc: &[u8; 32], ct: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    hpke_open(key, None, &ctx(PURPOSE), &bound(), enc, ct).ok().map(|opened| opened.plaintext)
}

fn exact<const N: usize>(input: &mut impl Read) -> Result<[u8; N], BackupError> {
    read_up_to(input, N)?.try_into().map_err(|_| BackupError::Truncated)
}

/// Fewer bytes only at the end of the file.
fn read_up_to(input: &mut impl Read, count: usize) -> Result<Vec<u8>, BackupError> {
    let mut out = Vec::with_capacity(count);
    input.take(count as u64).read_to_end(&mut out).map_err(BackupError::Io)?;
    Ok(out)
}
