//! Backups that open with the right key alone, and files that were cut, altered or made by somebody else.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::crypto::SeededRandom;
use crate::keys::{PhraseLength, RecoveryPhrase};
use crate::keystore::CHEAP;

struct Made {
    file: Vec<u8>,
    recovery: DeviceKeys,
    passphrase: Passphrase,
    database: Vec<u8>,
}

fn content() -> Content {
    Content { space: SpaceId([1; 32]), device: SignPk([2; 32]), root: DeviceRoot::from_bytes([3; 32]), made_ms: 4 }
}

fn make(bytes: usize, seed: u64) -> Made {
    let mut random = SeededRandom::new(seed);
    let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
    let passphrase = Passphrase::choose("correct horse battery").unwrap();
    let mut database = vec![0; bytes];
    random.fill(&mut database);
    let locks = [Lock::Recovery(recovery.hpke_pk()), Lock::Passphrase(passphrase.clone(), CHEAP)];
    let (mut file, mut seen) = (Vec::new(), 0);
    let mut input = Cursor::new(&database);
    write_backup(&mut file, &locks, &content(), &mut input, &mut random, &mut |done| seen = done).unwrap();
    assert_eq!(seen, bytes as u64);
    Made { file, recovery, passphrase, database }
}

fn read(file: &[u8], opener: &Opener<'_>) -> Result<(Content, Vec<u8>), BackupError> {
    let (mut reader, content) = BackupReader::open(file, opener)?;
    let mut database = Vec::new();
    reader.copy_to(&mut database, &mut |_| {})?;
    Ok((content, database))
}

#[test]
fn a_backup_opens_with_the_words_or_the_passphrase_whatever_its_size() {
    let head = 4 + encode_content(&content()).len();
    for bytes in [0, 1, CHUNK_BYTES - head - 1, CHUNK_BYTES - head, CHUNK_BYTES - head + 1, 3 * CHUNK_BYTES] {
        let made = make(bytes, 81);
        for opener in [Opener::Recovery(&made.recovery), Opener::Passphrase(&made.passphrase)] {
            let (content, database) = read(&made.file, &opener).unwrap();
            assert!(database == made.database, "{bytes} bytes");
            assert_eq!((content.space, content.device, content.made_ms), (SpaceId([1; 32]), SignPk([2; 32]), 4));
            assert_eq!(*content.root.to_bytes(), [3; 32]);
        }
    }
}

#[test]
fn nothing_of_a_backup_can_be_read_without_a_key() {
    let made = make(300_000, 82);
    let other = RecoveryPhrase::generate(PhraseLength::Words12, &mut SeededRandom::new(83)).derive_home();
    let wrong = Passphrase::new("correct horse batterx").unwrap();
    for opener in [Opener::Recovery(&other), Opener::Passphrase(&wrong)] {
        assert!(matches!(read(&made.file, &opener), Err(BackupError::WrongKey)));
    }
    for clear in [[1; 32], [2; 32], [3; 32]] {
        assert!(!made.file.windows(32).any(|window| window == clear));
    }
    let (left, right) = (make(300_000, 84), make(300_000, 85));
    assert_eq!(left.file.len(), right.file.len());
    assert!(!left.file.windows(16).any(|window| left.database.starts_with(window)));
}

#[test]
fn a_backup_that_is_cut_anywhere_gives_an_error_and_says_so_between_chunks() {
    let made = make(3 * CHUNK_BYTES, 86);
    let opener = Opener::Recovery(&made.recovery);
    let header = made.file.len() - 3 * (CHUNK_BYTES + TAG_BYTES) - (4 + encode_content(&content()).len() + TAG_BYTES);
    for chunks in 0..4 {
        let cut = &made.file[..header + chunks * (CHUNK_BYTES + TAG_BYTES)];
        assert!(matches!(read(cut, &opener), Err(BackupError::Truncated)), "after {chunks} chunks");
    }
    for at in (0..header).chain([header + 5, header + CHUNK_BYTES, made.file.len() - 1, made.file.len() - 20]) {
        assert!(read(&made.file[..at], &opener).is_err(), "cut at {at}");
    }
}

#[test]
fn chunks_that_change_places_or_come_twice_are_noticed() {
    let made = make(4 * CHUNK_BYTES, 87);
    let opener = Opener::Recovery(&made.recovery);
    let size = CHUNK_BYTES + TAG_BYTES;
    let start = made.file.len() - 4 * size - (4 + encode_content(&content()).len() + TAG_BYTES);
    let chunk = |n: usize| made.file[start + n * size..start + (n + 1) * size].to_vec();
    let mut swapped = made.file.clone();
    swapped[start + size..start + 2 * size].copy_from_slice(&chunk(2));
    swapped[start + 2 * size..start + 3 * size].copy_from_slice(&chunk(1));
    assert!(matches!(read(&swapped, &opener), Err(BackupError::Altered)));
    let mut twice = made.file.clone();
    twice.splice(start + size..start + size, chunk(1));
    assert!(matches!(read(&twice, &opener), Err(BackupError::Altered)));
    let mut longer = made.file.clone();
    longer.extend_from_slice(&[0; 20]);
    assert!(read(&longer, &opener).is_err());
}

#[test]
fn a_lock_that_somebody_changed_is_noticed_by_who_opens_another() {
    let made = make(1_000, 92);
    let (recovery, passphrase) = (10, 10 + 1 + 32 + WRAPPED_BYTES);
    let mut exchanged = made.file.clone();
    exchanged[recovery + 5] ^= 1;
    assert!(matches!(read(&exchanged, &Opener::Passphrase(&made.passphrase)), Err(BackupError::Altered)));
    let mut exchanged = made.file.clone();
    exchanged[passphrase + 20] ^= 1;
    assert!(matches!(read(&exchanged, &Opener::Recovery(&made.recovery)), Err(BackupError::Altered)));
}

#[test]
fn another_file_and_a_newer_version_are_told_apart() {
    let made = make(10, 88);
    let opener = Opener::Recovery(&made.recovery);
    assert!(matches!(read(b"SQLite format 3\0 and so on", &opener), Err(BackupError::NotABackup)));
    assert!(matches!(read(b"", &opener), Err(BackupError::NotABackup)));
    let mut newer = made.file.clone();
    newer[8] = 2;
    assert!(matches!(read(&newer, &opener), Err(BackupError::NewerVersion)));
    let none: [Lock; 0] = [];
    let random = &mut SeededRandom::new(89);
    let refused = write_backup(&mut Vec::new(), &none, &content(), &mut Cursor::new([]), random, &mut |_| {});
    assert!(matches!(refused, Err(BackupError::NoLock)));
}

#[test]
fn a_golden_backup_opens() {
    let text = include_str!("../../vectors/backup.txt");
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect::<Vec<u8>>()
    };
    let words = String::from_utf8(line("words")).unwrap();
    let recovery = RecoveryPhrase::parse(&words).unwrap().derive_home();
    let passphrase = Passphrase::new(&String::from_utf8(line("passphrase")).unwrap()).unwrap();
    for opener in [Opener::Recovery(&recovery), Opener::Passphrase(&passphrase)] {
        let (content, database) = read(&line("file"), &opener).unwrap();
        assert_eq!(database, line("database"));
        assert_eq!(content.root.to_bytes().to_vec(), line("root"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_changed_byte_anywhere_is_noticed(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let made = make(70_000, 90);
        let mut altered = made.file.clone();
        let at = at.index(altered.len());
        altered[at] ^= 1 << bit;
        // Two locks open this file: what is changed in one of them is noticed by both, for the header is in the key.
        prop_assert!(read(&altered, &Opener::Recovery(&made.recovery)).is_err(), "byte {at}");
        prop_assert!(read(&altered, &Opener::Passphrase(&made.passphrase)).is_err(), "byte {at}");
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut SeededRandom::new(91)).derive_home();
        let mut file = b"LSBACKUP\x01\x01\x00".to_vec();
        file.extend_from_slice(&bytes);
        prop_assert!(read(&file, &Opener::Recovery(&recovery)).is_err());
    }
}
