//! Attacks 170 to 179: what a line of text means, and what rings when.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 170,
        how: "of a date in figures one reading is taken",
        file: "client-core/src/quick/day.rs",
        find: "(Some(date), Some(other)) if has_english => Day::either(Doubt::DayOrMonth, date, other),",
        put: "(Some(date), Some(_)) if has_english => Day::On(date),",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["an_answer_means_what_it_says"],
    },
    Defence {
        attack: 170,
        how: "an answer is put into a line in words that are asked about again",
        file: "client-core/src/quick/settle.rs",
        find: "let half = if is_12_hours && matches!(time.hour(), 10 | 11) { \" am\" } else { \"\" };",
        put: "let half = if is_12_hours && matches!(time.hour(), 99) { \" am\" } else { \"\" };",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["title_and_parts_are_the_whole_line_and_every_answer_makes_it_clearer"],
    },
    Defence {
        attack: 171,
        how: "a line of any length is read",
        file: "client-core/src/quick/mod.rs",
        find: "if line.len() > LINE_BYTES_MAX {",
        put: "if line.len() > usize::MAX - 1 {",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_line_that_is_too_long_is_refused_and_the_longest_is_read_in_time_that_grows_with_it"],
    },
];
