//! Attacks 100 to 104: devices that sync without a relay elsewhere.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 100,
        how: "a device that listens takes anybody's space",
        file: "sync-server/src/config.rs",
        find: r#"Self { creation: SpaceCreation::Allowlist(keys), limits, ..Self::new(data_dir, listen) }"#,
        put: r#"Self { creation: if keys.is_empty() { SpaceCreation::Allowlist(keys) } else { SpaceCreation::Open }, limits, ..Self::new(data_dir, listen) }"#,
        package: "lifeos-tests",
        target: Target::Test("peer"),
        tests: &["a_stranger_gets_nothing_from_a_device_that_listens_and_leaves_nothing_there"],
    },
    Defence {
        attack: 101,
        how: "an address without a key is one",
        file: "client-core/src/transport/peer.rs",
        find: r#"let (at, key) = rest.split_once('#').ok_or(PeerAddressError::Key)?;"#,
        put: r#"let (at, key) = rest.split_once('#').filter(|(_, key)| key.len() == 64).unwrap_or((rest, &SCHEME[..0]));
        let key = if key.is_empty() { "abababababababababababababababababababababababababababababababab" } else { key };"#,
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["an_address_without_its_key_or_with_a_name_to_look_up_is_none"],
    },
    Defence {
        attack: 102,
        how: "a device nearby is in the list of relays",
        file: "client-core/src/store/reads.rs",
        find: "WHERE space = ?1 AND id > 0 ORDER BY id",
        put: "WHERE space = ?1 ORDER BY id",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_device_nearby_is_in_no_list_of_relays_and_is_forgotten"],
    },
    Defence {
        attack: 103,
        how: "the log of a device nearby is read from its start",
        file: "client-core/src/session/vector.rs",
        find: "} else if self.by_streams.is_none()\n",
        put: "} else if self.number > 0\n",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["by_streams_only_what_is_lacking_goes_over_the_wire_in_either_direction"],
    },
    Defence {
        attack: 104,
        how: "a name is known whatever day it is of",
        file: "client-core/src/nearby.rs",
        find: "&day.to_be_bytes(), salt])",
        put: "&day.to_be_bytes()[..0], salt])",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_member_knows_a_device_that_listens_around_midnight_too_and_nobody_else_does"],
    },
    Defence {
        attack: 104,
        how: "what is said is not bound to its name",
        file: "client-core/src/nearby.rs",
        find: "open_once(&derive(secret, \"nearby-said\", space, day, salt), heard.name.as_bytes(), &mut opened).ok()?;",
        put: "let _ = open_once(&derive(secret, \"nearby-said\", space, day, salt), heard.name.as_bytes(), &mut opened);",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["whatever_is_heard_is_what_a_member_said_or_nothing"],
    },
];
