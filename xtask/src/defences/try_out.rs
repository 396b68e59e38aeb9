//! Takes the defences away one after the other and looks whether their tests notice.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::copy::Copy;
use super::{Defence, Target, all, folder};
use crate::run::{Outcome, cargo, target, watch};

const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
const TEST_MAX: Duration = Duration::from_secs(5 * 60);
/// Some tests walk through every state of a machine, which takes long when nothing is wrong.
const SOUND_TEST_MAX: Duration = Duration::from_secs(20 * 60);
/// What a spoilt program may take of the machine, in KiB.
const MEMORY_KIB_MAX: u64 = 8 << 20;

/// How an entry came out.
enum Verdict {
    /// Every test named failed.
    Fired,
    /// These passed although the defence was gone.
    Silent(Vec<String>),
    /// The entry does not say what it should.
    Wrong(String),
}

/// The counts of a run, for the record; and what was wrong.
pub(crate) struct Report {
    /// One line.
    pub(crate) counts: String,
    /// What to mend.
    pub(crate) outcome: Outcome,
}

/// Tries the entries of these attacks, or all that have not fired on these sources yet.
pub(crate) fn run(numbers: &[&str]) -> Result<Report, String> {
    let numbers: BTreeSet<u32> = numbers
        .iter()
        .map(|number| number.parse().map_err(|_| format!("`{number}` is no number of an attack")))
        .collect::<Result<_, _>>()?;
    let chosen: Vec<&Defence> = all().filter(|it| numbers.is_empty() || numbers.contains(&it.attack)).collect();
    if chosen.is_empty() {
        return Err("no entry has such a number".into());
    }
    let copy = Copy::refresh()?;
    let mut memory = Memory::open();
    let (known, todo): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|defence| numbers.is_empty() && memory.has_fired(&copy, defence));
    eprintln!("  {} entries to try, {} have fired on these very sources", todo.len(), known.len());
    let mut tried = Tried { count: todo.len(), ..Tried::default() };
    for group in by_program(&todo) {
        tried.group(&copy, &mut memory, &group)?;
    }
    Ok(tried.report(known.len()))
}

/// Entries of one program of tests stand together, so that what is built for one helps the next.
fn by_program<'d>(defences: &[&'d Defence]) -> Vec<Vec<&'d Defence>> {
    let mut groups: BTreeMap<(&str, Target), Vec<&Defence>> = BTreeMap::new();
    for defence in defences {
        groups.entry((defence.package, defence.target)).or_default().push(defence);
    }
    groups.into_values().collect()
}

#[derive(Default)]
struct Tried {
    count: usize,
    done: usize,
    fired: usize,
    tests: usize,
    complaints: Vec<String>,
}

impl Tried {
    /// Before the first entry the tests must pass, or their failing would prove nothing.
    fn group(&mut self, copy: &Copy, memory: &mut Memory, group: &[&'static Defence]) -> Outcome {
        let Some(first) = group.first() else { return Ok(()) };
        eprintln!("  {} {:?}", first.package, first.target);
        let whole = Program::build(copy, first).map_err(|error| format!("the untouched sources: {error}"));
        let names: BTreeSet<&str> = group.iter().flat_map(|defence| defence.tests).copied().collect();
        let why_unfit = |name| match &whole {
            Ok(whole) => whole.unfit(name),
            Err(error) => Some(error.clone()),
        };
        let unfit: BTreeMap<&str, String> =
            names.into_iter().filter_map(|name| Some((name, why_unfit(name)?))).collect();
        for defence in group {
            let start = Instant::now();
            let verdict = match defence.tests.iter().find_map(|name| unfit.get(name)) {
                Some(reason) => Verdict::Wrong(reason.clone()),
                None => without(copy, defence),
            };
            self.note((copy, &mut *memory), defence, &verdict, start.elapsed())?;
        }
        Ok(())
    }

    fn note(
        &mut self,
        (copy, memory): (&Copy, &mut Memory),
        defence: &Defence,
        verdict: &Verdict,
        took: Duration,
    ) -> Outcome {
        self.done += 1;
        let said = match verdict {
            Verdict::Fired => {
                self.fired += 1;
                self.tests += defence.tests.len();
                memory.add(copy, defence)?;
                format!("fired ({} tests)", defence.tests.len())
            }
            Verdict::Silent(tests) => format!("NOT NOTICED by {}", tests.join(", ")),
            Verdict::Wrong(reason) => format!("WRONG ENTRY: {reason}"),
        };
        let line = format!("attack {}, {}: {said}", defence.attack, defence.how);
        eprintln!("  [{}/{}] {line}, {} s", self.done, self.count, took.as_secs());
        if !matches!(verdict, Verdict::Fired) {
            self.complaints.push(line);
        }
        Ok(())
    }

    fn report(self, known: usize) -> Report {
        let Self { count, fired, tests, complaints, .. } = self;
        let counts = format!(
            "{count} taken away one by one, {fired} noticed by all {tests} tests named, {known} more on the same \
             sources before"
        );
        let outcome = if complaints.is_empty() {
            Ok(())
        } else {
            Err(format!("{} entries: {}", complaints.len(), complaints.join("; ")))
        };
        eprintln!("  {counts}");
        Report { counts, outcome }
    }
}

/// Builds without the defence and runs its tests.
fn without(copy: &Copy, defence: &Defence) -> Verdict {
    let tried = copy.change(defence.file, defence.find, defence.put).and_then(|_changed| {
        let program = Program::build(copy, defence)?;
        let mut passed = Vec::new();
        for name in defence.tests {
            if program.passes(name, TEST_MAX)? {
                passed.push((*name).to_owned());
            }
        }
        Ok(passed)
    });
    match tried {
        Ok(passed) if passed.is_empty() => Verdict::Fired,
        Ok(passed) => Verdict::Silent(passed),
        Err(reason) => Verdict::Wrong(reason),
    }
}

/// A built program of tests.
struct Program {
    path: PathBuf,
    folder: PathBuf,
    /// Full names, with their modules.
    tests: Vec<String>,
}

impl Program {
    fn build(copy: &Copy, defence: &Defence) -> Result<Self, String> {
        let mut args = vec!["test", "--no-run", "--locked", "--package", defence.package];
        match defence.target {
            Target::Lib => args.push("--lib"),
            Target::LibWith(feature) => args.extend(["--lib", "--features", feature]),
            Target::Test(name) => args.extend(["--test", name]),
        }
        let mut build = cargo(&args);
        build.current_dir(copy.folder()).env("CARGO_TARGET_DIR", target().join("defences/build"));
        // The quickest build: no symbols for debuggers, and only what changed is compiled again.
        build.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "1").env("CARGO_TERM_COLOR", "never");
        let (status, said) = watch(&mut build, BUILD_MAX)?;
        if !status.is_some_and(|status| status.success()) {
            let why: Vec<_> =
                said.lines().skip_while(|line| !line.starts_with("error")).take(2).map(str::trim).collect();
            let why = if why.is_empty() { "the build took too long".to_owned() } else { why.join(" ") };
            return Err(format!("it does not compile: {why}"));
        }
        let path = said.lines().rev().find_map(|line| line.trim().strip_prefix("Executable ")?.split_once('('));
        let (_, path) = path.ok_or("cargo names no program of tests")?;
        let path = PathBuf::from(path.trim_end_matches(')'));
        let folder = copy.folder().join(folder(defence.package));
        let mut program = Self { path: copy.folder().join(path), folder, tests: Vec::new() };
        let (_, listed) = watch(&mut program.command(&["--list", "--format", "terse"]), TEST_MAX)?;
        program.tests = listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
        Ok(program)
    }

    /// The program under a limit of memory: some defences stand against just that.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(&self.path).args(args).current_dir(&self.folder);
        // What failed need not be made small.
        command.env("CARGO_MANIFEST_DIR", &self.folder).env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command
    }

    fn full_name(&self, name: &str) -> Result<&str, String> {
        let is_it =
            |full: &&String| full.strip_suffix(name).is_some_and(|module| module.is_empty() || module.ends_with("::"));
        let mut found = self.tests.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(full), None) => Ok(full),
            (None, _) => Err(format!("there is no test `{name}` in {}", name_of(&self.path))),
            _ => Err(format!("there is more than one test `{name}` in {}", name_of(&self.path))),
        }
    }

    /// Whether a test passes. One that is killed by a signal, as for memory or a stack without end, has failed.
    fn passes(&self, name: &str, cap: Duration) -> Result<bool, String> {
        let full = self.full_name(name)?;
        let (status, said) = watch(&mut self.command(&["--exact", full]), cap)?;
        let status = status.ok_or_else(|| format!("`{name}` did not end within {} s", cap.as_secs()))?;
        if !said.contains("running 1 test") {
            return Err(format!("`{name}` did not run"));
        }
        Ok(status.success())
    }

    /// Why a test proves nothing when it fails.
    fn unfit(&self, name: &str) -> Option<String> {
        match self.passes(name, SOUND_TEST_MAX) {
            Ok(true) => None,
            Ok(false) => Some(format!("`{name}` fails with all defences in place")),
            Err(reason) => Some(reason),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Which entries have fired on which sources, so that a run that was cut short goes on.
struct Memory {
    path: PathBuf,
    lines: BTreeSet<String>,
}

impl Memory {
    fn open() -> Self {
        let path = target().join("defences/fired");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Self { path, lines: text.lines().map(str::to_owned).collect() }
    }

    fn line(copy: &Copy, defence: &Defence) -> String {
        let mut hash = DefaultHasher::new();
        (copy.state(defence.package), defence).hash(&mut hash);
        format!("{:016x}", hash.finish())
    }

    fn has_fired(&self, copy: &Copy, defence: &Defence) -> bool {
        self.lines.contains(&Self::line(copy, defence))
    }

    fn add(&mut self, copy: &Copy, defence: &Defence) -> Outcome {
        let line = Self::line(copy, defence);
        let append = || writeln!(std::fs::File::options().create(true).append(true).open(&self.path)?, "{line}");
        append().map_err(|error: std::io::Error| format!("{}: {error}", self.path.display()))
    }
}
