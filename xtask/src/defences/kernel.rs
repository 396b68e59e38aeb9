//! Attacks 203 and 204: lists that are watched.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 203,
        how: "a document that changed stays in a watched list where it was",
        file: "client-core/src/watch.rs",
        find: "self.kept.remove(at);",
        put: "let _ = at;",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_window_shows_the_beginning_of_the_answer_and_what_is_told_of_it_leads_there"],
    },
    Defence {
        attack: 203,
        how: "a notebook that moves changes no list",
        file: "client-core/src/client/watch.rs",
        find: "!reads.any_is_of(docs, over)?",
        put: "!reads.any_is_of(&docs[..0], over)?",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_notebook_that_goes_is_told_of_the_notes_in_it"],
    },
    Defence {
        attack: 203,
        how: "rows change and the log of changes does not say so",
        file: "client-core/src/store/rows.rs",
        find: "watch::log_changed(conn, doc)?;",
        put: "if new.is_empty() { watch::log_changed(conn, doc)?; }",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_watched_list_is_told_whole_first_and_then_what_changed_in_it_and_where"],
    },
    Defence {
        attack: 204,
        how: "the log of changes grows for ever",
        file: "client-core/src/store/watch.rs",
        find: "if n % CUT_EVERY == 0 {",
        put: "if n < 0 {",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_reader_that_does_not_ask_gets_one_reset_for_everything_and_the_log_does_not_grow"],
    },
    Defence {
        attack: 204,
        how: "asking for one note looks through all of them",
        file: "client-core/src/store/notes.rs",
        find: "(SELECT * FROM note WHERE doc = :only LIMIT 1)",
        put: "(SELECT * FROM note WHERE doc = :only)",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["what_a_change_costs_does_not_depend_on_how_many_items_there_are"],
    },
];
