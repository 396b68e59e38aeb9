//! The whole-system simulation over many seeds: partitions, crashes, clock jumps, relay wipes and rollbacks, removals, new
//! keys, checkpoints, homes put back; and that a seed is a replay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::process::Command;

fn simulate(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lifeos-sim")).args(args).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// What was said but for counts of bytes, which differ by some ids from run to run (decision 0026).
fn events(said: &str) -> Vec<String> {
    let is_bytes = |part: &str| part.contains("bytes carried=") || part.contains("quiet bytes=");
    said.lines().map(|line| line.split(';').filter(|part| !is_bytes(part)).collect::<Vec<_>>().join(";")).collect()
}

#[test]
fn a_seed_is_replayed_event_for_event() {
    for seed in ["3", "11", "27"] {
        let [(_, first), (_, second)] =
            [simulate(&["--seed", seed, "--verbose"]), simulate(&["--seed", seed, "--verbose"])];
        assert!(first.lines().count() > 20, "nothing happened: {first}");
        assert_eq!(events(&first), events(&second), "seed {seed}");
    }
    let (one, other) = (simulate(&["--seed", "3"]).1, simulate(&["--seed", "4"]).1);
    assert_ne!(one, other);
}

#[test]
fn after_whatever_happened_devices_in_force_are_equal_and_nothing_acknowledged_is_missing() {
    let seeds = std::env::var("LIFEOS_SEEDS").unwrap_or_else(|_| "300".to_owned());
    // On a machine that is too slow for all of them, as many as go in this time.
    let (all_well, said) = simulate(&["--seeds", &seeds, "--seconds", "150"]);
    println!("{said}");
    assert!(all_well, "{said}");
}
