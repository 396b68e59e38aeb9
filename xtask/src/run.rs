//! Running commands with a cap on their time, and finding or installing the tools they need.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a chore returns: nothing, or a sentence about what went wrong.
pub(crate) type Outcome = Result<(), String>;

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where the profile `ci` puts its programs.
pub(crate) fn ci_bin(name: &str) -> PathBuf {
    target().join("ci").join(name)
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the workspace's root.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Cargo with arguments.
pub(crate) fn cargo(args: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// Runs to the end, or kills it at the cap.
pub(crate) fn run(command: &mut Command, cap: Duration) -> Outcome {
    let line = describe(command);
    eprintln!("  $ {line}   (at most {} s)", cap.as_secs());
    let mut child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("cannot start `{line}`: {error}"))?;
    let status = wait(&mut child, cap).ok_or_else(|| format!("`{line}` did not finish within {} s", cap.as_secs()))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed ({status})")) }
}

/// Runs to the end, or kills it at the cap; gives what it printed on both streams.
pub(crate) fn capture(command: &mut Command, cap: Duration) -> Result<String, String> {
    let line = describe(command);
    eprintln!("  $ {line}");
    let (status, text) = watch(command, cap)?;
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => {
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
            Err(format!("`{line}` failed ({status})"))
        }
        None => Err(format!("`{line}` did not finish within {} s", cap.as_secs())),
    }
}

/// Runs to the end, or kills it at the cap; gives how it ended, unless it was killed, and what it printed on both
/// streams.
pub(crate) fn watch(command: &mut Command, cap: Duration) -> Result<(Option<ExitStatus>, String), String> {
    let line = describe(command);
    let log = target().join("xtask-capture.log");
    let file = |error: std::io::Error| format!("{}: {error}", log.display());
    let out = std::fs::File::create(&log).map_err(file)?;
    let errors = out.try_clone().map_err(file)?;
    let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn();
    let mut child = child.map_err(|error| format!("cannot start `{line}`: {error}"))?;
    let status = wait(&mut child, cap);
    Ok((status, String::from_utf8_lossy(&std::fs::read(&log).map_err(file)?).into_owned()))
}

/// Whether a program can be started.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Makes sure a Debian package's program is there; installs it where the machine lets us.
pub(crate) fn need(program: &str, package: &str) -> Outcome {
    if has(program) {
        return Ok(());
    }
    let cap = Duration::from_secs(180);
    let _ = run(&mut command("apt-get", &["update", "-q"]), cap);
    let _ = run(&mut command("apt-get", &["install", "-y", "-q", "--no-install-recommends", package]), cap);
    if has(program) { Ok(()) } else { Err(format!("{program} is missing: install the package {package}")) }
}

fn wait(child: &mut Child, cap: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if start.elapsed() < cap => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                end(child.id());
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// Kills all that a process has started, and what those have: cargo, say, runs the programs under test. They stay in
/// this program's process group, so that an interrupt at the terminal reaches them, too.
fn end(pid: u32) {
    let mut found = vec![pid.to_string()];
    let mut at = 0;
    while let Some(parent) = found.get(at) {
        let children = children(parent);
        found.extend(children);
        at += 1;
    }
    let _ = Command::new("kill").arg("-9").args(found).stderr(Stdio::null()).status();
}

/// Process ids, where the system tells them in a folder of its own.
fn children(pid: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let line = command.get_args().fold(program, |line, arg| line + " " + &arg.to_string_lossy());
    // A script shows its first words only.
    match line.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", line[..at].replace('\n', "; ")),
        None => line,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Whether a process is there and not only waiting to be collected.
    fn is_alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
    }

    #[test]
    fn what_runs_out_of_time_takes_all_that_it_started_with_it() {
        let file = std::env::temp_dir().join(format!("xtask-{}", std::process::id()));
        let script = format!("sh -c 'sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait'; true", file.display());
        let mut child = command("sh", &["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
        let pid = loop {
            match std::fs::read_to_string(&file) {
                Ok(pid) => break pid.trim().to_owned(),
                Err(_) => std::thread::yield_now(),
            }
        };
        assert!(is_alive(&pid));
        assert_eq!(wait(&mut child, Duration::ZERO), None);
        let _ = std::fs::remove_file(&file);
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_alive(&pid) {
            assert!(Instant::now() < deadline, "the grandchild goes on");
            std::thread::yield_now();
        }
    }
}
