//! Attacks 187 to 192: what days come to, whoever checked in, and what is said of a working life.

use super::{Defence, Target};

pub(super) const TABLE: &[Defence] = &[
    Defence {
        attack: 187,
        how: "what was added takes the place of what was added before",
        file: "client-core/src/modules/goals/mod.rs",
        find: "Some(by) => entity::add_to_row(doc, &GOAL_YEAR, \"checkin\", &id, \"added\", by).map(drop),",
        put: "Some(by) => put(doc, GOAL_YEAR.genesis(), &format!(\"checkin/{id}:added@ff\"), by),",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &[
            "what_two_devices_add_on_one_day_counts_and_what_they_say_is_one_of_them_and_shown",
            "check_ins_of_three_devices_come_to_the_same_in_whatever_order_they_meet_and_every_addition_counts",
        ],
    },
    Defence {
        attack: 187,
        how: "a check-in that is taken back leaves an entry that is removed",
        file: "client-core/src/modules/goals/declared.rs",
        find: "    Field::new(\"goal_year.checkin.note\"",
        put: "    Field::row_deleted(\"goal_year.checkin.del\", \"checkin/<id>:del\"),\n    Field::new(\"goal_year.checkin.note\"",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["taking_a_check_in_back_takes_back_what_this_device_did_and_nothing_else"],
    },
    Defence {
        attack: 188,
        how: "a day that is left out on purpose counts as one that was not kept",
        file: "client-core/src/modules/goals/standing.rs",
        find: "() if says(State::Skip) => Day::Skip,",
        put: "",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["what_is_skipped_or_rests_breaks_no_streak_what_failed_does_and_today_is_not_over"],
    },
    Defence {
        attack: 188,
        how: "days of rest make a habit weaker",
        file: "client-core/src/modules/goals/standing.rs",
        find: "            _ if self.goal.rests_on(day) => Mark::Skip,\n            _ => Mark::No,\n        };",
        put: "            _ => Mark::No,\n        };",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_habit_kept_for_twenty_days_has_the_score_that_loop_publishes"],
    },
    Defence {
        attack: 189,
        how: "goals that are part of each other are shown nowhere",
        file: "client-core/src/modules/goals/forest.rs",
        find: "if ancestors.all(|ancestor| ancestor != *goal) {",
        put: "if ancestors.take(9).count() > 0 {",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["whatever_goals_say_they_are_part_of_they_form_a_forest_with_each_of_them_once"],
    },
    Defence {
        attack: 189,
        how: "a metric may name any field as its day",
        file: "client-core/src/modules/goals/series.rs",
        find: "filter(|field| matches!(field.field_type, FieldType::Date | FieldType::When))?;",
        put: "filter(|_| true)?;",
        package: "lifeos-client-core",
        target: Target::Lib,
        tests: &["a_metric_names_fields_that_are_declared_and_nothing_else"],
    },
];
