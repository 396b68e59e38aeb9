//! Attacks 193 to 202: what people bring from elsewhere.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 193,
        how: "a file of a note that is not whole is left out and not told",
        file: "client-core/src/import/enex.rs",
        find: "troubles.push(Trouble { line: resource.line, target, reason: BAD.to_owned() });",
        put: "drop(target);",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_bad_file_of_a_note_is_named_with_its_line_and_the_note_comes_over"],
    },
    Defence {
        attack: 193,
        how: "bytes that are not of the encoding are replaced and not told",
        file: "client-core/src/import/text.rs",
        find: "            self.damaged.set(true);",
        put: "            self.damaged.set(false);",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["bytes_that_do_not_fit_are_replaced_and_told"],
    },
    Defence {
        attack: 194,
        how: "lists and quotes are kept however deep they are nested",
        file: "client-core/src/import/html.rs",
        find: "self.containers.len() >= DEPTH_MAX || self.cells > 0",
        put: "self.cells > 0",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["nesting_without_end_keeps_the_words_and_costs_little"],
    },
    Defence {
        attack: 195,
        how: "a file out of an export keeps the path it names",
        file: "client-core/src/import/enex.rs",
        find: "name => portable(name),",
        put: "name => name.to_owned(),",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["names_that_would_lead_elsewhere_stay_below_the_notebook"],
    },
    Defence {
        attack: 196,
        how: "taking an import back takes back what was changed since",
        file: "client-core/src/client/imports.rs",
        find: "    if is_changed {",
        put: "    if false {",
        package: "lifeos-tests",
        target: Target::Test("imports"),
        tests: &["an_evernote_export_comes_in_once_and_goes_as_one"],
    },
];
