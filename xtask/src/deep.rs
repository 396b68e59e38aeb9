//! What takes longer than CI may. Each part appends one dated line to `evidence/deep.log`: commit, counts, verdict.

use std::io::Write as _;
use std::time::Duration;

use crate::run::{Outcome, capture, cargo, command, need, root, run, target};
use crate::{decoder, defences, fuzz, mixed, stages};

const PARTS: &[&str] = &[
    "crash",
    "demo",
    "bench",
    "mutations",
    "membership",
    "sim",
    "recurrence",
    "notify",
    "joining",
    "mixed",
    "vault",
    "fuzz",
    "sqlcipher",
    "keystore",
    "postgres",
    "together",
    "defences",
];
const MUTATIONS: &str = "1000000";
const HISTORIES: &str = "200000";
const SEEDS: &str = "10000";
const RULES: &str = "100000";
const SCHEDULES: &str = "100000";
const FUZZ_S: u64 = 60;

/// Runs one part, or all of them.
pub(crate) fn run_parts(args: &[&str]) -> Outcome {
    let part = args.first().copied().unwrap_or("all");
    match part {
        "all" => PARTS.iter().try_for_each(|part| one(part)),
        "defences" => without_defences(&args[1..]),
        "sim" => simulations(&args[1..]),
        "mixed" => versions(&args[1..]),
        part if PARTS.contains(&part) => one(part),
        _ => Err(format!("no deep part `{part}`: {}", PARTS.join(", "))),
    }
}

fn one(part: &str) -> Outcome {
    match part {
        "crash" => {
            record("crash", "500 points each", stages::crash(&["--points", "500"], Duration::from_secs(60 * 60)))
        }
        "demo" => demo(),
        "mutations" => mutations(),
        "membership" => membership(),
        "sim" => simulations(&[]),
        "mixed" => versions(&[]),
        "recurrence" => recurrence(),
        "notify" => notifications(),
        "joining" => joining(),
        "vault" => vault(),
        "sqlcipher" => sqlcipher(),
        "together" => together(),
        "defences" => without_defences(&[]),
        "keystore" => record("keystore", "a real Secret Service", keystore()),
        "postgres" => {
            record("postgres", "the relay's tests at a real server, alone and with others", stages::postgres())
        }
        "fuzz" => fuzz::TARGETS.iter().try_for_each(|target| fuzz_one(target)),
        _ => record("bench", "all rows in release", stages::bench(&["all"])),
    }
}

fn demo() -> Outcome {
    let registry =
        std::env::var("CARGO_HOME").unwrap_or_else(|_| std::env::var("HOME").unwrap_or_default() + "/.cargo");
    let sources = registry + "/registry/src";
    let demo = run(&mut cargo(&["run", "--release", "--locked", "--", "demo", &sources]), Duration::from_secs(30 * 60));
    record("demo", "every Markdown file of the local crate sources", demo)
}

/// The program with the feature `keystore` and a keyring daemon, in a session bus of their own.
fn keystore() -> Outcome {
    need("dbus-run-session", "dbus")?;
    need("gnome-keyring-daemon", "gnome-keyring")?;
    need("secret-tool", "libsecret-tools")?;
    let folder = target().join("keystore");
    let both = ["-p", "lifeos-cli", "-p", "lifeos-sync-server", "--features", "lifeos-cli/keystore"];
    let build = [&["build", "--profile", "ci", "--locked"], &both[..]].concat();
    run(cargo(&build).env("CARGO_TARGET_DIR", &folder), Duration::from_secs(20 * 60))?;
    let [program, relay] = ["lifeos", "lifeos-relay"].map(|name| folder.join("ci").join(name));
    let (program, relay) = (program.to_string_lossy(), relay.to_string_lossy());
    run(&mut command("python3", &["tests/keystore/check.py", &program, &relay]), Duration::from_secs(5 * 60))
}

/// Changes and documents mutated under a seed that is the day, so that every day tries others.
fn mutations() -> Outcome {
    let seed = text("date", &["-u", "+%Y%m%d"]);
    let test = ["test", "--profile", "ci", "--locked", "--workspace", "--lib", "fence::tests::mutations"];
    let mut test = cargo(&[&test[..], &["--", "--nocapture"]].concat());
    test.env("LIFEOS_MUTATIONS", MUTATIONS).env("LIFEOS_SEED", &seed);
    let said = capture(&mut test, Duration::from_secs(60 * 60));
    let tally = said.as_deref().map(|said| line_with(said, " inputs, seed ")).unwrap_or_default().to_owned();
    record("mutations", if tally.is_empty() { MUTATIONS } else { &tally }, said.map(drop))
}

/// Two processes that edit one note.
fn together() -> Outcome {
    let test = ["test", "--profile", "ci", "--locked", "--workspace", "--test", "together"];
    let edits = run(cargo(&test).env("LIFEOS_EDITS", "10000"), Duration::from_secs(30 * 60));
    record("together", "2 processes, 10,000 edits of one note each", edits)
}

/// Each defence of the table taken away once.
fn without_defences(numbers: &[&str]) -> Outcome {
    let report = defences::run(numbers)?;
    let which = if numbers.is_empty() { String::new() } else { format!("attacks {}: ", numbers.join(" ")) };
    record("defences", &(which + &report.counts), report.outcome)
}

/// Histories of the day, none of which CI tries.
fn membership() -> Outcome {
    let seed = text("date", &["-u", "+%Y%m%d000000"]);
    let compared = stages::histories(HISTORIES, &seed, Duration::from_secs(60 * 60));
    record("membership", &format!("{HISTORIES} histories from seed {seed}"), compared)
}

/// Seeds of the day, none of which CI tries; or a part of them, `--from N --seeds N`, to go on where another run ended.
fn simulations(args: &[&str]) -> Outcome {
    let from = text("date", &["-u", "+%Y%m%d000000"]);
    // What is said last counts.
    let args = [&["--seeds", SEEDS, "--from", &from][..], args].concat();
    let ran =
        stages::simulator(&args).and_then(|mut simulator| capture(&mut simulator, Duration::from_secs(12 * 60 * 60)));
    let tally = ran.as_deref().map(|said| line_with(said, " seeds from ")).unwrap_or_default().to_owned();
    record("sim", if tally.is_empty() { SEEDS } else { &tally }, ran.map(drop))
}

/// Devices and relays of an older commit together with those of today.
fn versions(args: &[&str]) -> Outcome {
    let tried = mixed::mixed(args);
    record("mixed", tried.as_deref().unwrap_or("an older commit"), tried.as_ref().map(|_| ()).map_err(Clone::clone))
}

/// Recurrence rules of the day in all time zones, against an expander that shares nothing with the engine's.
fn recurrence() -> Outcome {
    let requirements = "client-core/src/recur/oracle/requirements.txt";
    let ran = decoder::python("oracle", "dateutil, tzdata", requirements).and_then(|python| {
        let mut tests = cargo(&["test", "--profile", "ci", "--locked", "-p", "lifeos-client-core", "--lib"]);
        tests.args([
            "--",
            "--ignored",
            "--nocapture",
            "rules_agree_with_an_expander_that_shares_nothing_with_this_one",
        ]);
        tests
            .env("LIFEOS_PYTHON", python)
            .env("LIFEOS_RULES", RULES)
            .env("LIFEOS_SEED", text("date", &["-u", "+%Y%m%d000000"]));
        capture(&mut tests, Duration::from_secs(3 * 60 * 60))
    });
    let tally = ran.as_deref().map(|said| line_with(said, " rules in ")).unwrap_or_default().to_owned();
    record("recurrence", if tally.is_empty() { RULES } else { &tally }, ran.map(drop))
}

/// Schedules of the day of devices that ring, none of which CI tries.
fn notifications() -> Outcome {
    let name = "whatever_happens_to_devices_each_rings_what_it_must_once_and_nothing_that_is_over";
    let tests = ["test", "--profile", "ci", "--locked", "-p", "lifeos-client-core", "--lib", "--", "--nocapture", name];
    let mut tests = cargo(&tests);
    tests.env("LIFEOS_SCHEDULES", SCHEDULES).env("LIFEOS_SEED", text("date", &["-u", "+%Y%m%d000000"]));
    let ran = capture(&mut tests, Duration::from_secs(3 * 60 * 60));
    let tally = ran.as_deref().map(|said| line_with(said, " schedules from seed ")).unwrap_or_default().to_owned();
    record("notify", if tally.is_empty() { SCHEDULES } else { &tally }, ran.map(drop))
}

/// Every Markdown file of this machine's sources and documents, in and out again.
fn vault() -> Outcome {
    let home = std::env::var("HOME").unwrap_or_default();
    let folders = std::env::var("LIFEOS_VAULT").unwrap_or_else(|_| format!("{home}:/usr:/opt"));
    let test = ["test", "--profile", "ci", "--locked", "-p", "lifeos-tests", "--test", "vault", "--", "--nocapture"];
    let ran = capture(cargo(&test).env("LIFEOS_VAULT", folders), Duration::from_secs(60 * 60));
    let tally = ran.as_deref().map(|said| line_with(said, "VAULT ")).unwrap_or_default().to_owned();
    record("vault", if tally.is_empty() { "real Markdown" } else { &tally }, ran.map(drop))
}

/// A phone that joins a large space over a slow line and is killed again and again.
fn joining() -> Outcome {
    need("taskset", "util-linux")?;
    let test = ["test", "--profile", "ci", "--locked", "-p", "lifeos-tests", "--test", "joining", "--"];
    let mut test = cargo(&[&test[..], &["--ignored", "--nocapture", "a_join_of_full_size"]].concat());
    let said = capture(&mut test, Duration::from_secs(60 * 60));
    let tally = said.as_deref().map(|said| line_with(said, " of the bytes came twice")).unwrap_or_default().to_owned();
    record("joining", if tally.is_empty() { "full size" } else { &tally }, said.map(drop))
}

/// The build with an encrypted database: needs libcrypto and its headers, which a machine of CI may lack.
fn sqlcipher() -> Outcome {
    let features: Vec<_> =
        ["client-core", "cli", "ffi", "tests", "benches"].map(|name| format!("lifeos-{name}/sqlcipher")).into();
    let features = features.join(",");
    let whole = ["--workspace", "--profile", "ci", "--locked", "--features", &features];
    let checked = run(
        &mut cargo(&[&["clippy"][..], &whole, &["--all-targets", "--quiet", "--", "-D", "warnings"]].concat()),
        Duration::from_secs(30 * 60),
    );
    let said = checked.and_then(|()| {
        let tests = [&["test"][..], &whole, &["--no-fail-fast"]].concat();
        capture(&mut cargo(&tests), Duration::from_secs(60 * 60))
    });
    let passed = said.as_deref().map(passed).unwrap_or_default();
    record("sqlcipher", &format!("clippy and all {passed} tests with the cipher built in"), said.map(drop))
}

/// How many tests passed, of all programs of tests.
fn passed(said: &str) -> u64 {
    let counts =
        said.lines().filter_map(|line| line.split_once("test result: ok. ")?.1.split(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

fn fuzz_one(target: &str) -> Outcome {
    let said = fuzz::run_target(target, FUZZ_S);
    let runs = said.as_deref().map(|said| line_with(said, "Done ")).unwrap_or_default().to_owned();
    record("fuzz", &format!("{target} for {FUZZ_S} s: {runs}"), said.map(drop))
}

fn line_with<'t>(text: &'t str, mark: &str) -> &'t str {
    text.lines().rev().find(|line| line.contains(mark)).unwrap_or_default()
}

fn text(program: &str, args: &[&str]) -> String {
    let output = command(program, args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn record(part: &str, what: &str, outcome: Outcome) -> Outcome {
    let (date, commit) = (text("date", &["-u", "+%Y-%m-%d"]), text("git", &["rev-parse", "--short=12", "HEAD"]));
    let verdict = outcome.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "ok".to_owned());
    let folder = root().join("evidence");
    let append = || -> std::io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let mut file = std::fs::File::options().create(true).append(true).open(folder.join("deep.log"))?;
        writeln!(file, "{date} {commit} {part}: {what}: {verdict}")
    };
    append().map_err(|error| format!("cannot write evidence: {error}"))?;
    outcome
}
