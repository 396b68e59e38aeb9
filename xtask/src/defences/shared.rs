//! Several relays at one PostgreSQL server, and what is acknowledged there.

use super::{Defence, Target};

const FOLLOW: &str = "sync-server/src/store/follow.rs";
const POSTGRES: &str = "sync-server/src/store/postgres.rs";
const SHARED: Target = Target::TestWith("relay_postgres", "postgres");

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 211,
        how: "two relays write to one space at once",
        file: FOLLOW,
        find: "WHERE no = ?1 FOR UPDATE\"",
        put: "WHERE no = ?1\"",
        package: "lifeos-sync-server",
        target: SHARED,
        tests: &["what_is_pushed_at_one_relay_is_told_at_the_others_and_the_log_is_one"],
    },
    Defence {
        attack: 211,
        how: "what is remembered of a log counts although another relay has written",
        file: "sync-server/src/store/writer.rs",
        find: "is_some_and(|log| log.version != held.version)",
        put: "is_some_and(|log| log.version != held.version && false)",
        package: "lifeos-sync-server",
        target: SHARED,
        tests: &["what_is_pushed_at_one_relay_is_told_at_the_others_and_the_log_is_one"],
    },
    Defence {
        attack: 212,
        how: "records of other relays are not taken in before something is stored",
        file: FOLLOW,
        find: "Some(space) => !follow(db, space, &current)?,",
        put: "Some(_) => false,",
        package: "lifeos-sync-server",
        target: SHARED,
        tests: &["a_removal_at_one_relay_is_in_force_at_the_others_with_its_commit"],
    },
    Defence {
        attack: 213,
        how: "a server acknowledges when it likes",
        file: POSTGRES,
        find: r#""off" | "local" | "remote_write""#,
        put: r#""never""#,
        package: "lifeos-sync-server",
        target: SHARED,
        tests: &["an_acknowledgement_waits_for_the_disk_of_a_server_that_would_not"],
    },
    Defence {
        attack: 214,
        how: "a relay uses the database of another one",
        file: POSTGRES,
        find: "Ok(if key == *relay {",
        put: "Ok(if key == *relay || true {",
        package: "lifeos-sync-server",
        target: SHARED,
        tests: &["a_database_that_is_anothers_newer_unsafe_or_not_there_is_refused_with_what_to_do"],
    },
];
