//! A program of tests: built from the copy, and run test by test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::copy::Copy;
use super::{Defence, Target, folder};
use crate::run::{cargo, target, watch};

const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
const TEST_MAX: Duration = Duration::from_secs(5 * 60);
/// For a test among several: what takes longer is tried alone anyway.
const TEST_SOON_MAX: Duration = Duration::from_secs(45);
/// Some tests walk through every state of a machine, which takes long when nothing is wrong.
const SOUND_TESTS_MAX: Duration = Duration::from_secs(20 * 60);
/// What a spoilt program may take of the machine, in KiB.
const MEMORY_KIB_MAX: u64 = 8 << 20;

/// A built program of tests.
pub(super) struct Program {
    path: PathBuf,
    folder: PathBuf,
    /// Full names, with their modules.
    tests: Vec<String>,
}

impl Program {
    /// Builds the program that an entry names, from the copy as it is.
    pub(super) fn build(copy: &Copy, defence: &Defence) -> Result<Self, String> {
        let mut args = vec!["test", "--no-run", "--locked", "--package", defence.package];
        match defence.target {
            Target::Lib => args.push("--lib"),
            Target::LibWith(feature) => args.extend(["--lib", "--features", feature]),
            Target::TestWith(name, feature) => args.extend(["--test", name, "--features", feature]),
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
    pub(super) fn passes(&self, name: &str) -> Result<bool, String> {
        self.passes_within(name, TEST_MAX)
    }

    /// The same, but an error for a test that takes long.
    pub(super) fn passes_soon(&self, name: &str) -> Result<bool, String> {
        self.passes_within(name, TEST_SOON_MAX)
    }

    fn passes_within(&self, name: &str, cap: Duration) -> Result<bool, String> {
        let full = self.full_name(name)?;
        let (status, said) = watch(&mut self.command(&["--exact", full]), cap)?;
        let status = status.ok_or_else(|| format!("`{name}` did not end within {} s", cap.as_secs()))?;
        if !said.contains("running 1 test") {
            return Err(format!("`{name}` did not run"));
        }
        Ok(status.success())
    }

    /// The modules of a test.
    pub(super) fn module(&self, name: &str) -> Option<String> {
        Some(self.full_name(name).ok()?.rsplit_once("::")?.0.to_owned())
    }

    /// Of these tests the ones that prove nothing when they fail, each with the reason.
    pub(super) fn unfit<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<BTreeMap<&'n str, String>, String> {
        let names: BTreeSet<&str> = names.collect();
        let full: Vec<&str> = names.iter().filter_map(|name| self.full_name(name).ok()).collect();
        let (_, said) = watch(&mut self.command(&[&["--exact"], &full[..]].concat()), SOUND_TESTS_MAX)?;
        let is_sound = |name: &str| {
            self.full_name(name).is_ok_and(|full| said.lines().any(|line| line == format!("test {full} ... ok")))
        };
        // Once more, each alone, for what a test that ended the whole program kept from running.
        let reason = |name: &str| match self.passes_within(name, SOUND_TESTS_MAX) {
            Ok(true) => None,
            Ok(false) => Some(format!("`{name}` fails with all defences in place")),
            Err(reason) => Some(reason),
        };
        Ok(names.into_iter().filter(|name| !is_sound(name)).filter_map(|name| Some((name, reason(name)?))).collect())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
