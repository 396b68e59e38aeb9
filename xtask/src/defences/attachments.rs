//! Attachments: what a bundle, a folder or a relay may bring, and who reads it.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 147,
        how: "a bundle's parts are kept whether something refers to them or not",
        file: "client-core/src/engine/bundle.rs",
        find: "if !self.live.as_ref().is_some_and(|(_, live)| live.contains(&id)) {",
        put: "if !self.live.as_ref().is_some_and(|_| true) {",
        package: "lifeos-tests",
        target: Target::Test("blobs"),
        tests: &["parts_in_a_bundle_that_nothing_refers_to_or_that_were_altered_fill_nobodys_home"],
    },
    Defence {
        attack: 149,
        how: "parts stay under the key that a removed device was given",
        file: "client-core/src/engine/worker/checkpoints.rs",
        find: "if !waits_for_key && self.reseal_parts(asked)? {",
        put: "if asked && !asked && self.reseal_parts(asked)? {",
        package: "lifeos-tests",
        target: Target::Test("blobs"),
        tests: &["after_a_removal_attachments_are_sealed_anew_and_the_old_parts_go"],
    },
    Defence {
        attack: 149,
        how: "what was sealed anew before a crash is sealed once more",
        file: "client-core/src/engine/worker/resealing.rs",
        find: "let kept = self.shared.store().reads().part_under(&space, (hash, *number), &key.epoch())?;",
        put: "let kept = self.shared.store().reads().part_under(&space, (hash, *number), &lifeos_sync_protocol::ids::EpochRef::ZERO)?;",
        package: "lifeos-cli",
        target: Target::Test("commands"),
        tests: &["attachments::sealing_anew_after_a_removal_goes_on_where_it_was_killed"],
    },
    Defence {
        attack: 148,
        how: "a symbolic link in an imported folder is taken for a file",
        file: "client-core/src/client/import_attached.rs",
        find: "Some(found) if !found.is_link => Ok(Some(found.path.clone())),",
        put: "Some(found) if !found.is_link || found.is_link => Ok(Some(found.path.clone())),",
        package: "lifeos-tests",
        target: Target::Test("folders"),
        tests: &["links_that_lead_out_or_nowhere_are_named_with_their_line_and_the_rest_comes_in"],
    },
    Defence {
        attack: 148,
        how: "a link of a note puts a hidden file into the exported folder",
        file: "client-core/src/export/attached.rs",
        find: "&& !path.split('/').any(|part| part.starts_with('.'));",
        put: "&& !path.split('/').any(|_| false);",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_hostile_name_or_link_stays_below_the_folder_and_hides_nothing"],
    },
];
