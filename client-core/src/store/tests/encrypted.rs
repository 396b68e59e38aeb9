//! Homes whose database is encrypted, and how they become that.

use std::path::PathBuf;

use rusqlite::types::Value;

use super::*;
use crate::keys::DatabaseKey;
use crate::store::convert::built::{Point, contents, convert};
use crate::store::home::DATABASE_NEW_FILE;

const SECRET: &str = "marmalade";
const POINTS: [Point; 4] = [Point::Alone, Point::Copied, Point::Verified, Point::Renamed];

fn key() -> DatabaseKey {
    DeviceRoot::from_bytes([6; 32]).derive_database()
}

/// A home with a note whose title and body name the secret.
fn written(home: &Path) -> Store {
    let mut store = create(home);
    write_title(&mut store, 1, &doc(1), SECRET);
    write_body(&mut store, 2, &doc(1), &format!("a jar of {SECRET} for breakfast"));
    store.index_dirty(10).unwrap();
    store
}

fn turn(home: &Path, to: DatabaseForm) -> Result<bool, StoreError> {
    convert_database(home, &key(), to, &mut |_, _| {})
}

fn encrypted() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    drop(written(home.path()));
    assert!(turn(home.path(), DatabaseForm::Encrypted).unwrap());
    home
}

/// The files of a folder that hold the secret.
fn telling(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let tells = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(SECRET.len()).any(|window| window.eq_ignore_ascii_case(SECRET.as_bytes()))
    };
    files.filter(tells).collect()
}

/// Every row of every table.
fn everything(store: &Store) -> Vec<(String, Vec<Vec<Value>>)> {
    let tables = contents(&store.conn).unwrap().into_iter().filter(|(_, sql, _)| sql.starts_with("CREATE TABLE"));
    let read = |name: String| {
        let mut select = store.conn.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = select.column_count();
        let found = select.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
        (name, found.collect::<Result<_, _>>().unwrap())
    };
    tables.map(|(name, _, _)| read(name)).collect()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

/// The home opens, whichever of the two it is now, and holds what was written; nothing else lies about.
fn is_whole(home: &Path) -> DatabaseForm {
    let mut store = Store::open_with(home, Some(&key())).unwrap();
    assert_eq!(title(&mut store, &doc(1)).unwrap(), SECRET);
    assert_eq!(found(&mut store, SECRET), [doc(1)]);
    write_title(&mut store, 9, &doc(2), "goes on");
    drop(store);
    let names = std::fs::read_dir(home).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["device.key", "lifeos.db", "sync.lock"]);
    database_form(home).unwrap()
}

#[test]
fn no_file_of_an_encrypted_home_tells_what_was_written() {
    let home = tempfile::tempdir().unwrap();
    let store = written(home.path());
    assert!(telling(home.path()).contains(&home.path().join("lifeos.db-wal")), "the scanner finds what is there");
    drop(store);
    assert_eq!(telling(home.path()), [home.path().join(DATABASE_FILE)]);

    assert!(turn(home.path(), DatabaseForm::Encrypted).unwrap());
    assert_eq!(telling(home.path()), Vec::<PathBuf>::new());
    let mut store = Store::open_with(home.path(), Some(&key())).unwrap();
    write_title(&mut store, 3, &doc(2), SECRET);
    write_body(&mut store, 4, &doc(2), &format!("{SECRET} again"));
    store.index_dirty(10).unwrap();
    assert_eq!(found(&mut store, SECRET).len(), 2);
    assert!(home.path().join("lifeos.db-wal").metadata().unwrap().len() > 4096, "there is a log to look into");
    assert_eq!(telling(home.path()), Vec::<PathBuf>::new());
    let reader = Reader::open_with(home.path(), Some(&key())).unwrap();
    assert_eq!(reader.reads().document_count(&SPACE).unwrap(), 2);
}

#[test]
fn what_was_encrypted_is_decrypted_to_the_same_rows() {
    let home = tempfile::tempdir().unwrap();
    let store = written(home.path());
    let before = everything(&store);
    drop(store);
    assert!(before.iter().any(|(name, rows)| name == "search_content" && !rows.is_empty()));
    for form in [DatabaseForm::Encrypted, DatabaseForm::Plain] {
        assert!(turn(home.path(), form).unwrap());
        assert!(!turn(home.path(), form).unwrap(), "twice is once");
        assert_eq!(database_form(home.path()).unwrap(), form);
        let store = Store::open_with(home.path(), Some(&key())).unwrap();
        assert_eq!(everything(&store), before);
        assert!(store.conn.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).unwrap() > 0);
    }
    assert_eq!(telling(home.path()), [home.path().join(DATABASE_FILE)]);
}

#[test]
fn an_encrypted_home_is_set_up_like_a_plain_one() {
    let home = encrypted();
    let store = Store::open_with(home.path(), Some(&key())).unwrap();
    let setting = |name: &str| -> String {
        store
            .conn
            .pragma_query_value(None, name, |row| Ok(row.get::<_, Value>(0)?))
            .map(|value| format!("{value:?}"))
            .unwrap()
    };
    let expected = [
        ("journal_mode", "Text(\"wal\")"),
        ("synchronous", "Integer(2)"),
        ("foreign_keys", "Integer(1)"),
        ("trusted_schema", "Integer(0)"),
        ("temp_store", "Integer(2)"),
        ("cache_size", "Integer(-8192)"),
        ("cipher_page_size", "Text(\"4096\")"),
        ("cipher_use_hmac", "Text(\"1\")"),
        ("cipher_hmac_algorithm", "Text(\"HMAC_SHA512\")"),
        ("cipher_plaintext_header_size", "Text(\"0\")"),
    ];
    for (name, value) in expected {
        assert_eq!(setting(name), value, "{name}");
    }
}

#[test]
fn without_the_right_key_an_encrypted_home_is_refused_and_stays_as_it_was() {
    let home = encrypted();
    let other = DeviceRoot::from_bytes([7; 32]).derive_database();
    let before = std::fs::read(home.path().join(DATABASE_FILE)).unwrap();
    let error = Store::open_with(home.path(), Some(&other)).err().unwrap();
    assert!(matches!(error, StoreError::WrongDatabaseKey));
    let told = format!("{error} {error:?}");
    assert!(told.contains("another home") && told.contains("damaged"), "{told}");
    assert!(matches!(Reader::open_with(home.path(), Some(&other)), Err(StoreError::WrongDatabaseKey)));
    assert!(matches!(Store::open(home.path()), Err(StoreError::Encrypted)));
    assert!(matches!(Reader::open(home.path()), Err(StoreError::Encrypted)));
    assert_eq!(std::fs::read(home.path().join(DATABASE_FILE)).unwrap(), before);

    let mut bytes = before.clone();
    bytes[100] ^= 1;
    std::fs::write(home.path().join(DATABASE_FILE), &bytes).unwrap();
    assert!(matches!(Store::open_with(home.path(), Some(&key())), Err(StoreError::WrongDatabaseKey)));
    std::fs::write(home.path().join(DATABASE_FILE), before).unwrap();
    assert_eq!(is_whole(home.path()), DatabaseForm::Encrypted);
}

#[test]
fn an_altered_page_is_noticed_wherever_it_is() {
    let home = encrypted();
    let path = home.path().join(DATABASE_FILE);
    let before = std::fs::read(&path).unwrap();
    for page in 1..before.len() / 4096 {
        let mut bytes = before.clone();
        bytes[page * 4096 + 1000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let outcome = Store::open_with(home.path(), Some(&key())).and_then(|mut store| store.check(&mut |_, _| {}));
        match outcome {
            Ok(checks) => assert!(checks.iter().any(|check| !check.ok), "page {page}: {checks:?}"),
            Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "page {page}: {error:?}"),
        }
        let _ = std::fs::remove_file(home.path().join("lifeos.db-wal"));
        let _ = std::fs::remove_file(home.path().join("lifeos.db-shm"));
    }
}

#[test]
fn a_conversion_that_fails_anywhere_leaves_a_home_that_opens() {
    for to in [DatabaseForm::Encrypted, DatabaseForm::Plain] {
        for point in POINTS {
            let home = other_than(to);
            let mut crashed = None;
            let failed = convert(home.path(), &key(), to, &mut |_, _| {}, &mut |at| {
                if at == point {
                    crashed = Some(copy(home.path()));
                    return Err(StoreError::DiskFull);
                }
                Ok(())
            });
            assert!(matches!(failed, Err(StoreError::DiskFull)));
            assert!(!home.path().join(DATABASE_NEW_FILE).exists(), "{to:?} {point:?}: a copy lies about");
            let done = point == Point::Renamed;
            // What a process leaves that died there, and what one leaves that met an error.
            for folder in [crashed.unwrap().path(), home.path()] {
                assert_eq!(is_whole(folder) == to, done, "{to:?} {point:?}");
            }
            assert_eq!(turn(home.path(), to).unwrap(), !done);
            assert_eq!(is_whole(home.path()), to);
        }
    }
}

#[test]
fn what_a_killed_conversion_left_is_cleared_by_the_next_who_opens_the_home() {
    let home = encrypted();
    let left = home.path().join(DATABASE_NEW_FILE);
    std::fs::write(&left, format!("half a plain copy: {SECRET}")).unwrap();
    let running = SyncLock::try_acquire(home.path()).unwrap().unwrap();
    drop(Store::open_with(home.path(), Some(&key())).unwrap());
    assert!(left.exists(), "a conversion may be under way");
    drop(running);
    assert_eq!(is_whole(home.path()), DatabaseForm::Encrypted);
    // Or by the next conversion.
    std::fs::write(&left, "half a copy").unwrap();
    assert!(turn(home.path(), DatabaseForm::Plain).unwrap());
    assert_eq!(is_whole(home.path()), DatabaseForm::Plain);
}

#[test]
fn a_home_that_somebody_has_open_is_not_converted() {
    let home = tempfile::tempdir().unwrap();
    let mut store = written(home.path());
    assert!(matches!(turn(home.path(), DatabaseForm::Encrypted), Err(StoreError::Busy)));
    let reader = Reader::open(home.path()).unwrap();
    write_title(&mut store, 3, &doc(2), "goes on");
    drop(store);
    assert!(matches!(turn(home.path(), DatabaseForm::Encrypted), Err(StoreError::Busy)));
    assert_eq!(reader.reads().document_count(&SPACE).unwrap(), 2);
    drop(reader);
    let syncing = SyncLock::try_acquire(home.path()).unwrap().unwrap();
    assert!(matches!(turn(home.path(), DatabaseForm::Encrypted), Err(StoreError::Busy)));
    drop(syncing);
    assert!(turn(home.path(), DatabaseForm::Encrypted).unwrap());
}

/// How often this process has a file open.
#[cfg(target_os = "linux")]
fn times_open(path: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path)).count()
}

#[cfg(target_os = "linux")]
#[test]
fn whoever_waits_for_the_old_file_gets_the_new_one() {
    let home = tempfile::tempdir().unwrap();
    drop(written(home.path()));
    let path = home.path().canonicalize().unwrap();
    let mut waiting = Vec::new();
    convert(&path, &key(), DatabaseForm::Encrypted, &mut |_, _| {}, &mut |at| {
        if at == Point::Verified {
            let before = times_open(&path.join(DATABASE_FILE));
            for known in [Some(key()), None] {
                let path = path.clone();
                waiting.push(std::thread::spawn(move || Store::open_with(&path, known.as_ref())));
            }
            // Both have opened the old file, and cannot read it before this one lets go of it.
            while times_open(&path.join(DATABASE_FILE)) < before + 2 {
                std::thread::yield_now();
            }
        }
        Ok(())
    })
    .unwrap();
    let mut opened = waiting.into_iter().map(|thread| thread.join().unwrap());
    let mut store = opened.next().unwrap().unwrap();
    write_title(&mut store, 5, &doc(2), "into the new file");
    drop(store);
    assert!(matches!(opened.next().unwrap(), Err(StoreError::Encrypted)));
    let mut store = Store::open_with(home.path(), Some(&key())).unwrap();
    assert_eq!(title(&mut store, &doc(2)).unwrap(), "into the new file");
    assert_eq!(telling(home.path()), Vec::<PathBuf>::new());
}

#[test]
fn the_copy_for_a_backup_is_plain_and_lies_under_no_name_in_the_home() {
    let home = encrypted();
    let store = Store::open_with(home.path(), Some(&key())).unwrap();
    let in_memory = store.snapshot().unwrap();
    let on_disk = store.decrypted_at(home.path().join("backup.tmp")).unwrap();
    assert_eq!(telling(home.path()), Vec::<PathBuf>::new());
    assert!(!home.path().join("backup.tmp").exists());
    for mut snapshot in [in_memory, on_disk] {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut out = std::fs::File::create(elsewhere.path().join(DATABASE_FILE)).unwrap();
        std::io::copy(snapshot.file(), &mut out).unwrap();
        let copied = Store::open(elsewhere.path()).unwrap();
        assert_eq!(everything(&copied), everything(&store));
    }
    drop(store);
    assert_eq!(is_whole(home.path()), DatabaseForm::Encrypted);
}

/// A home of the other form than this one.
fn other_than(form: DatabaseForm) -> tempfile::TempDir {
    if form == DatabaseForm::Plain {
        return encrypted();
    }
    let home = tempfile::tempdir().unwrap();
    drop(written(home.path()));
    home
}

/// What becomes of a home whose copy is altered before it is compared.
fn turn_altered(to: DatabaseForm, alter: impl Fn(&Path)) -> Result<(), StoreError> {
    let home = other_than(to);
    let outcome = convert(home.path(), &key(), to, &mut |_, _| {}, &mut |at| {
        if at == Point::Copied {
            alter(&home.path().join(DATABASE_NEW_FILE));
        }
        Ok(())
    });
    assert_eq!(is_whole(home.path()) == to, outcome.is_ok(), "{to:?} {outcome:?}");
    outcome
}

#[test]
fn a_copy_that_lost_a_row_or_has_another_one_is_thrown_away() {
    for to in [DatabaseForm::Encrypted, DatabaseForm::Plain] {
        let with = |sql: &'static str| {
            turn_altered(to, move |copy| {
                let new = rusqlite::Connection::open(copy).unwrap();
                if to == DatabaseForm::Encrypted {
                    crate::store::cipher::unlock(&new, Some(&key())).unwrap();
                }
                new.execute_batch(sql).unwrap();
            })
        };
        for sql in ["DELETE FROM note", "UPDATE note SET title = 'jam'", "UPDATE meta SET value = x'00'"] {
            let failed = with(sql);
            assert!(matches!(failed, Err(StoreError::CopyDiffers)), "{to:?} {sql}: {failed:?}");
        }
        with("").unwrap();
    }
}

/// Where the first entry of an index ends: entries fill a page from its end on.
fn end_of_an_index(path: &Path) -> usize {
    let db = rusqlite::Connection::open(path).unwrap();
    let page: i64 =
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'note_list'", [], |row| row.get(0)).unwrap();
    // The header says how many bytes at the end of each page are not SQLite's.
    usize::try_from(page).unwrap() * 4096 - 1 - usize::from(std::fs::read(path).unwrap()[20])
}

#[test]
fn a_copy_that_is_not_sound_is_thrown_away_although_every_row_is_there() {
    let flip = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    // An entry of an index that leads to no row.
    let failed = turn_altered(DatabaseForm::Plain, |copy| flip(copy, end_of_an_index(copy)));
    assert!(matches!(failed, Err(StoreError::CopyDiffers)), "{failed:?}");
    // Any byte of an encrypted one: its page does not fit its checksum.
    for at in [100, 4096 + 1000, 3 * 4096 + 7] {
        assert!(turn_altered(DatabaseForm::Encrypted, |copy| flip(copy, at)).is_err(), "byte {at}");
    }
}
