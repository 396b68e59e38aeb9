//! Worked examples, published figures, and what holds of all of them.

use proptest::prelude::*;

use super::*;
use crate::crypto::SeededRandom;

fn is_near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
}

#[test]
fn progress_is_of_the_way_also_downward_and_nothing_without_a_way() {
    assert_eq!(linear(0.0, 10.0, 4.0), Some(0.4));
    assert_eq!(linear(100.0, 80.0, 95.0), Some(0.25));
    assert_eq!(linear(100.0, 80.0, 120.0), Some(0.0));
    assert_eq!(linear(0.0, 10.0, 40.0), Some(1.0));
    assert_eq!(linear(5.0, 5.0, 5.0), None);
    assert_eq!(linear(0.0, f64::NAN, 5.0), None);
    assert_eq!(linear(-f64::MAX, f64::MAX, 0.0), Some(0.5));
    assert_eq!(in_range(&[Some(70.0), None, Some(71.5), Some(75.0), Some(69.0)], 70.0, 72.0), Some(0.5));
    assert_eq!(in_range(&[None], 0.0, 1.0), None);
}

#[test]
fn an_objective_is_the_mean_of_its_results_and_no_guardrail_is_averaged_away() {
    let result = |score, weight, kind| KeyResult { score: Some(score), weight, kind };
    let three =
        [result(1.0, 50.0, Kind::Committed), result(0.7, 30.0, Kind::Aspirational), result(0.4, 20.0, Kind::Learning)];
    let plain = objective(&three, false).unwrap();
    is_near(plain.score, 0.7);
    assert_eq!((plain.band, plain.committed_open), (Band::Green, vec![]));
    is_near(objective(&three, true).unwrap().score, 0.79);
    let broken = objective(&[three[0], three[1], result(0.9, 100.0, Kind::Guardrail)], false).unwrap();
    is_near(broken.score, 0.85);
    assert_eq!((broken.band, broken.broken), (Band::Red, vec![2]));
    let open = objective(&[KeyResult { score: None, ..three[0] }, three[1]], false).unwrap();
    assert_eq!((open.committed_open, open.band), (vec![0], Band::Yellow));
    assert_eq!(objective(&[], false), None);
    assert_eq!(objective(&[result(1.0, 0.0, Kind::Committed)], true), None);
    let bands = [0.0, 0.3, 0.34, 0.35, 0.4, 0.6, 0.64, 0.65, 0.7, 1.0].map(band);
    use Band::{Green, Red, Yellow};
    assert_eq!(bands, [Red, Red, Red, Yellow, Yellow, Yellow, Yellow, Green, Green, Green]);
}

#[test]
fn pace_is_progress_by_time_and_says_what_is_needed() {
    assert_eq!(pace(0.45, 45.0, 90.0), Some(Pace { pace: 0.9, track: Track::On }));
    assert_eq!(pace(0.4, 45.0, 90.0).unwrap().track, Track::AtRisk);
    assert_eq!(pace(0.2, 45.0, 90.0).unwrap().track, Track::Off);
    assert_eq!(pace(0.9, 180.0, 90.0).unwrap().pace, 0.9, "after the end the whole time has passed");
    assert_eq!(pace(0.5, 0.0, 90.0), None);
    assert_eq!(required_rate(100.0, 40.0, 30.0), Some(2.0));
    assert_eq!(required_rate(80.0, 90.0, 20.0), Some(-0.5));
    assert_eq!(required_rate(100.0, 40.0, 0.0), None);
}

/// Figures of Loop Habit Tracker's own tests (`ScoreTest`, `ScoreListTest`).
#[test]
fn the_score_of_a_habit_is_what_loop_publishes() {
    for (frequency, previous, completed, expected) in [
        (1.0, 0.0, 1.0, 0.051922),
        (1.0, 0.5, 1.0, 0.525961),
        (1.0, 0.75, 1.0, 0.762981),
        (1.0, 0.5, 0.0, 0.474039),
        (1.0, 0.75, 0.0, 0.711058),
        (1.0 / 3.0, 0.0, 1.0, 0.030314),
        (1.0 / 3.0, 0.5, 1.0, 0.515157),
        (1.0 / 3.0, 0.75, 0.0, 0.727263),
    ] {
        assert!((compute(frequency, previous, completed) - expected).abs() < 2e-6);
    }
    let every_day = Frequency::new(1, 1).unwrap();
    let twenty = [
        0.051922, 0.101149, 0.147820, 0.192067, 0.234017, 0.273788, 0.311495, 0.347244, 0.381137, 0.413270, 0.443734,
        0.472617, 0.500000, 0.525961, 0.550574, 0.573910, 0.596033, 0.617008, 0.636894, 0.655747,
    ];
    let found = scores(&[Mark::Yes; 20], every_day);
    found.iter().zip(twenty).for_each(|(found, expected)| is_near(*found, expected));
    // Days 5, 10 and 11 before today were skipped.
    let mut days = [Mark::Yes; 20];
    [5, 10, 11].iter().for_each(|ago| days[19 - ago] = Mark::Skip);
    let skipped = [
        0.051922, 0.101149, 0.147820, 0.192067, 0.234017, 0.273788, 0.311495, 0.347244, 0.347244, 0.347244, 0.381137,
        0.413270, 0.443734, 0.472617, 0.472617, 0.500000, 0.525961, 0.550574, 0.573910, 0.596033,
    ];
    scores(&days, every_day).iter().zip(skipped).for_each(|(found, expected)| is_near(*found, expected));
    let days = [Mark::Yes, Mark::Skip, Mark::No, Mark::No, Mark::No, Mark::No];
    let once = [0.051922, 0.051922, 0.049226, 0.046670, 0.044247, 0.041949];
    scores(&days, every_day).iter().zip(once).for_each(|(found, expected)| is_near(*found, expected));
    // A count that is enough each day is as good as a yes.
    let counted = numerical_scores(&[Amount::Of(3.0); 20], every_day, Target::AtLeast(2.0));
    counted.iter().zip(twenty).for_each(|(found, expected)| is_near(*found, expected));
    // One day of little, then twenty of more than twice the most that is wanted.
    let much: Vec<_> = std::iter::once(Amount::Of(1.0)).chain([Amount::Of(5.0); 20]).collect();
    let found = numerical_scores(&much, every_day, Target::AtMost(2.0));
    is_near(found[0], 1.0);
    is_near(found[19], 0.363106);
    is_near(found[20], 0.344253);
}

#[test]
fn a_habit_of_some_days_a_week_is_looked_at_over_two_weeks() {
    let thrice = Frequency::new(3, 7).unwrap();
    let week = [Mark::Yes, Mark::No, Mark::Yes, Mark::No, Mark::Yes, Mark::No, Mark::No];
    let even: Vec<_> = week.repeat(60);
    assert!(*scores(&even, thrice).last().unwrap() > 0.99, "kept for a year, it is as strong as can be");
    // Six in one week and none in the next is as good.
    let uneven = [[Mark::Yes; 6].to_vec(), vec![Mark::No; 8]].concat().repeat(30);
    assert!(*scores(&uneven, thrice).last().unwrap() > 0.99);
    assert_eq!(Frequency::new(7, 7), Frequency::new(1, 1));
    assert_eq!([Frequency::new(0, 7), Frequency::new(8, 7), Frequency::new(1, 0)], [None; 3]);
}

#[test]
fn what_is_skipped_or_paused_breaks_no_streak_and_today_is_not_over() {
    use Day::{Fail, Paused, Skip, Unknown, Yes};
    let of = |days: &[Day]| (streaks(days).current, streaks(days).longest);
    assert_eq!(of(&[Yes, Yes, Skip, Yes, Unknown]), (3, 3));
    assert_eq!(of(&[Yes, Yes, Unknown, Yes]), (1, 2));
    assert_eq!(of(&[Yes, Yes, Yes, Fail]), (0, 3));
    assert_eq!(of(&[Yes, Paused, Paused, Yes, Fail, Yes]), (1, 2));
    assert_eq!(of(&[]), (0, 0));
    let all = streaks(&[Yes, Yes, Fail, Skip, Yes, Yes, Yes, Yes, Unknown]);
    assert_eq!((all.count, all.mean, all.completion), (2, 3.0, Some(6.0 / 7.0)));
}

#[test]
fn a_forecast_follows_the_line_whatever_a_third_of_the_samples_say() {
    let line = |day: f64| Sample { day, value: 10.0 + 2.0 * day };
    let mut samples: Vec<_> = (0..28).map(f64::from).map(line).collect();
    assert_eq!(slope(&samples), Some(2.0));
    let certain = forecast(&samples, 27.0, 28.0, (10.0, 104.0), &mut SeededRandom::new(1)).unwrap();
    assert_eq!((certain.days, certain.p10, certain.p90), (20.0, Some(20.0), Some(20.0)));
    for day in [3, 9, 14, 20, 25] {
        samples[day].value = 1000.0;
    }
    let robust = forecast(&samples, 27.0, 28.0, (10.0, 104.0), &mut SeededRandom::new(1)).unwrap();
    assert!((robust.days - 20.0).abs() < 1.0, "{robust:?}");
    // Away from the target, at rest, too little, there already.
    assert_eq!(forecast(&samples, 27.0, 28.0, (80.0, -50.0), &mut SeededRandom::new(1)), None);
    assert_eq!(forecast(&samples, 27.0, 28.0, (10.0, 30.0), &mut SeededRandom::new(1)).map(|it| it.days), Some(0.0));
    let falling: Vec<_> = (0..10).map(|day| Sample { day: f64::from(day), value: 50.0 - f64::from(day) }).collect();
    assert_eq!(forecast(&falling, 9.0, 28.0, (50.0, 60.0), &mut SeededRandom::new(1)).map(|it| it.days), None);
    assert_eq!(forecast(&falling, 9.0, 28.0, (50.0, 40.0), &mut SeededRandom::new(1)).map(|it| it.days), Some(1.0));
    assert_eq!(forecast(&[line(1.0)], 2.0, 28.0, (0.0, 60.0), &mut SeededRandom::new(1)), None);
    assert_eq!(forecast(&falling, 100.0, 28.0, (50.0, 40.0), &mut SeededRandom::new(1)), None, "too long ago");
}

#[test]
fn a_forecast_of_noise_has_an_interval_that_holds_and_a_seed_gives_it_again() {
    let mut random = SeededRandom::new(7);
    let mut inside = 0;
    for _ in 0..60 {
        // A line of slope 1 with noise of up to 4 either way, which comes to 60 in 33 days.
        let mut noise = || {
            let mut byte = [0; 1];
            crate::crypto::Random::fill(&mut random, &mut byte);
            f64::from(byte[0]) / 32.0 - 4.0
        };
        let samples: Vec<_> =
            (0..28).map(|day| Sample { day: f64::from(day), value: f64::from(day) + noise() }).collect();
        let found = forecast(&samples, 27.0, 28.0, (0.0, 60.0), &mut SeededRandom::new(3)).unwrap();
        assert_eq!(forecast(&samples, 27.0, 28.0, (0.0, 60.0), &mut SeededRandom::new(3)), Some(found));
        let (p10, p90) = (found.p10.unwrap(), found.p90.unwrap());
        assert!(p10 <= p90);
        inside += u32::from((p10..=p90).contains(&33.0));
    }
    // Eight in ten by its definition; by chance a few fewer or more of sixty.
    assert!((36..=58).contains(&inside), "{inside} of 60");
}

#[test]
fn work_that_is_added_is_not_work_that_is_left_undone() {
    let step = |day, done, scope| Step { day, done, scope };
    let sums = burn_up(&[step(3, 2.0, 0.0), step(1, 0.0, 10.0), step(2, 3.0, 0.0), step(2, 1.0, 5.0)]);
    assert_eq!(sums, [step(1, 0.0, 10.0), step(2, 4.0, 15.0), step(3, 6.0, 15.0)]);
    assert_eq!(
        [ideal(10.0, 0.0, 5.0), ideal(10.0, 2.0, 5.0), ideal(10.0, 9.0, 5.0)],
        [Some(10.0), Some(6.0), Some(0.0)]
    );
    assert_eq!(ideal(10.0, 1.0, 0.0), None);
}

proptest! {
    #[test]
    fn whatever_is_measured_progress_scores_and_paces_stay_within_their_bounds(
        numbers in proptest::collection::vec(proptest::num::f64::ANY, 3..40), marks in proptest::collection::vec(0_u8..3, 0..80),
        times in 1_u32..8, seed in any::<u64>()
    ) {
        let is_share = |it: f64| (0.0..=1.0).contains(&it);
        prop_assert!(linear(numbers[0], numbers[1], numbers[2]).is_none_or(is_share));
        prop_assert!(pace(numbers[0], numbers[1], numbers[2]).is_none_or(|pace| pace.pace.is_finite() && pace.pace >= 0.0));
        let values: Vec<_> = numbers.iter().map(|number| Some(*number)).collect();
        prop_assert!(in_range(&values, numbers[0], numbers[1]).is_none_or(is_share));
        let frequency = Frequency::new(times.min(7), 7).unwrap();
        let days: Vec<_> = marks.iter().map(|mark| [Mark::Yes, Mark::No, Mark::Skip][usize::from(*mark)]).collect();
        prop_assert!(scores(&days, frequency).into_iter().all(is_share));
        let amounts: Vec<_> = numbers.iter().map(|number| Amount::Of(*number)).collect();
        for target in [Target::AtLeast(numbers[0]), Target::AtMost(numbers[0])] {
            prop_assert!(numerical_scores(&amounts, frequency, target).into_iter().all(is_share));
        }
        let samples: Vec<_> = numbers.chunks(2).filter(|two| two.len() == 2).map(|two| Sample { day: two[0], value: two[1] }).collect();
        let found = forecast(&samples, numbers[0], 28.0, (numbers[2], numbers[1]), &mut SeededRandom::new(seed));
        prop_assert!(found.is_none_or(|found| found.days.is_finite() && found.days >= 0.0));
    }

    #[test]
    fn a_day_more_that_is_kept_never_makes_a_habit_weaker_or_a_streak_shorter(marks in proptest::collection::vec(0_u8..5, 0..60)) {
        let days: Vec<_> = marks.iter().map(|mark| [Day::Yes, Day::Fail, Day::Skip, Day::Paused, Day::Unknown][usize::from(*mark)]).collect();
        let (before, after) = (streaks(&days), streaks(&[days.clone(), vec![Day::Yes]].concat()));
        prop_assert!(after.longest >= before.longest && after.current > 0);
        let marks: Vec<_> = marks.iter().map(|mark| [Mark::Yes, Mark::No, Mark::Skip, Mark::No, Mark::No][usize::from(*mark)]).collect();
        let every_day = Frequency::new(1, 1).unwrap();
        let before = scores(&marks, every_day).last().copied().unwrap_or(0.0);
        prop_assert!(*scores(&[marks, vec![Mark::Yes]].concat(), every_day).last().unwrap() >= before);
    }
}
