//! Rows 134 to 136: queries that would look through a whole history.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 134,
        how: "whether a device may vouch is looked for in all documents of the space",
        file: "client-core/src/store/checkpoint/due.rs",
        find: "WHERE unverified <> 0 AND +space = ?1)",
        put: "WHERE unverified <> 0 AND space = ?1)",
        package: "lifeos-tests",
        target: Target::Test("curve"),
        tests: &["catching_up_takes_as_many_steps_after_three_times_the_history"],
    },
    Defence {
        attack: 134,
        how: "the size of every envelope since the last checkpoint is looked at, however many there are",
        file: "client-core/src/store/checkpoint/due.rs",
        find: "} else if loose.envelopes() > ENVELOPES_MAX {",
        put: "} else if loose.bytes(&self.conn)? > 0 && loose.envelopes() > ENVELOPES_MAX {",
        package: "lifeos-tests",
        target: Target::Test("curve"),
        tests: &["catching_up_takes_as_many_steps_after_three_times_the_history"],
    },
    Defence {
        attack: 135,
        how: "what streams are vouched for is looked for in all mentions",
        file: "client-core/src/store/seal.rs",
        find: "\"SELECT count(*) FROM stream s JOIN mention m ON m.stream = s.stream AND m.position = ?2 WHERE s.space = ?1\"",
        put: "\"SELECT count(*) FROM mention m WHERE m.position = ?2 AND ?1 > 0\"",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["sealing_takes_as_many_steps_after_thousands_of_mentions"],
    },
];
