//! Attacks 160 to 163: what modules declare, and who writes past it.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 160,
        how: "a change is stored whatever keys it wrote",
        file: "client-core/src/registry/door.rs",
        find: "write.is_value && kind.field(write.key).is_some();",
        put: "write.is_value;",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_change_that_writes_what_is_not_declared_is_not_admitted"],
    },
    Defence {
        attack: 160,
        how: "a change may delete keys",
        file: "client-core/src/document/chunk.rs",
        find: "is_value: matches!(action, SET | INCREMENT)",
        put: "is_value: matches!(action, SET | INCREMENT | 3)",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_change_that_writes_what_is_not_declared_is_not_admitted"],
    },
    Defence {
        attack: 161,
        how: "what breaks a rule after a merge is not marked",
        file: "client-core/src/modules/entity/project.rs",
        find: "self.broken_rules(&mut marks);",
        put: "",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["merging_never_refuses_and_what_breaks_a_rule_is_marked"],
    },
    Defence {
        attack: 162,
        how: "a document of a newer version is edited",
        file: "client-core/src/modules/entity/read.rs",
        find: "(needed > kind.version).then_some(needed)",
        put: "(needed > u32::MAX - 1).then_some(needed)",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["an_entity_of_a_newer_version_can_be_read_and_not_edited"],
    },
    Defence {
        attack: 163,
        how: "what two devices add to a counter of an entry is one register",
        file: "client-core/src/modules/entity/write.rs",
        find: "let stream = doc.get_actor().to_hex_string();",
        put: "let stream = String::from(\"ff\");",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["additions_to_counters_all_count_on_two_devices"],
    },
];
