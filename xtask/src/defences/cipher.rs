//! The encrypted database (docs/THREATS.md, 20), which a feature of the build brings.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 0,
        how: "THREATS 20: nobody looks whether the file that was opened is still the home's",
        file: "client-core/src/store/home.rs",
        find: r#"if file_id(&self.path)? == self.id { Ok(()) } else { Err(StoreError::Replaced) }"#,
        put: r#"if file_id(&self.path)? == self.id || true { Ok(()) } else { Err(StoreError::Replaced) }"#,
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["whoever_waits_for_the_old_file_gets_the_new_one"],
    },
    Defence {
        attack: 0,
        how: "THREATS 20: whoever waited for the old file is not sent to the new one",
        file: "client-core/src/store/home.rs",
        find: r#"Err(StoreError::Replaced) => connect_once(home, mode, key),"#,
        put: r#"Err(StoreError::Replaced) => Err(StoreError::Replaced),"#,
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["whoever_waits_for_the_old_file_gets_the_new_one"],
    },
    Defence {
        attack: 0,
        how: "THREATS 20: a wrong database key is not told as such",
        file: "client-core/src/store/cipher.rs",
        find: r#"if is_unreadable(conn)? { Err(StoreError::WrongDatabaseKey) } else { Ok(()) }"#,
        put: r#"if is_unreadable(conn)? && false { Err(StoreError::WrongDatabaseKey) } else { Ok(()) }"#,
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["without_the_right_key_an_encrypted_home_is_refused_and_stays_as_it_was"],
    },
    Defence {
        attack: 0,
        how: "THREATS 20: a home is converted while somebody syncs it",
        file: "client-core/src/store/convert.rs",
        find: r#"let _lock = SyncLock::try_acquire(home)?.ok_or(StoreError::Busy)?;"#,
        put: r#"let _lock = SyncLock::try_acquire(home)?;"#,
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["a_home_that_somebody_has_open_is_not_converted"],
    },
    Defence {
        attack: 0,
        how: "THREATS 20: what a killed conversion left stays",
        file: "client-core/src/store/home.rs",
        find: r#"        convert::clear_left_over(home);
"#,
        put: r#""#,
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["what_a_killed_conversion_left_is_cleared_by_the_next_who_opens_the_home"],
    },
    Defence {
        attack: 0,
        how: "THREATS 20: what a conversion writes is cleared while it is under way",
        file: "client-core/src/store/convert.rs",
        find: r#"    if let Ok(Some(_lock)) = SyncLock::try_acquire(home)
        && let Err(error)"#,
        put: r#"    if let Ok(_lock) = SyncLock::try_acquire(home)
        && let Err(error)"#,
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["what_a_killed_conversion_left_is_cleared_by_the_next_who_opens_the_home"],
    },
    Defence {
        attack: 0,
        how: "THREATS 20: a copy is not compared with what it was made from",
        file: "client-core/src/store/convert.rs",
        find: r#"if sound == "ok" && contents(old)? == contents(&new)? {"#,
        put: r#"if sound == "ok" {"#,
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["a_copy_that_lost_a_row_or_has_another_one_is_thrown_away"],
    },
    Defence {
        attack: 0,
        how: "THREATS 20: a copy whose indexes lead elsewhere is taken",
        file: "client-core/src/store/convert.rs",
        find: r#"if sound == "ok" && contents(old)? == contents(&new)? {"#,
        put: "if contents(old)? == contents(&new)? {",
        package: "lifeos-client-core",
        target: Target::LibWith("sqlcipher"),
        tests: &["a_copy_that_is_not_sound_is_thrown_away_although_every_row_is_there"],
    },
];
