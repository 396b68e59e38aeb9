//! Attachments: what a bundle, a folder or a relay may bring, and who reads it.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[Defence {
    attack: 147,
    how: "a bundle's parts are kept whether something refers to them or not",
    file: "client-core/src/engine/bundle.rs",
    find: "if !self.live.as_ref().is_some_and(|(_, live)| live.contains(&id)) {",
    put: "if !self.live.as_ref().is_some_and(|_| true) {",
    package: "lifeos-tests",
    target: Target::Test("blobs"),
    tests: &["parts_in_a_bundle_that_nothing_refers_to_or_that_were_altered_fill_nobodys_home"],
}];
