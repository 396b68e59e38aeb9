//! Real programs as child processes: the relay, and workers that print what was acknowledged.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// A program beside the running one.
///
/// # Panics
/// When the running program has no path.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = own.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.join(name)
}

/// A loopback port that is free now, that this process gives nobody else, and that no outgoing connection takes while
/// its listener is away: those are given ports above.
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 120 * 100;
    let port = || 20_000 + (first + GIVEN.fetch_add(1, Ordering::Relaxed)) % 12_000;
    let mut ports = std::iter::repeat_with(port).take(12_000);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// Wraps a command so that it dies by SIGKILL at the `nth` system call (per thread) that touches disk or network.
#[must_use]
pub fn killed_at(nth: u32, program: &Path, args: &[&str]) -> Command {
    let mut command = traced(SYSCALLS, &format!("signal=SIGKILL:when={nth}"));
    command.arg(program).args(args);
    command
}

/// Wraps a command so that the disk is full for `calls` (`pwrite64` is what SQLite writes with, `write` what everything
/// else does), `when` as strace counts them in each thread: `3` the third alone, `3+` all from the third on.
///
/// # Panics
/// When strace is missing: the check would check nothing.
#[must_use]
pub fn on_full_disk(calls: &str, when: &str, inner: &Command) -> Command {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    assert!(strace.is_ok_and(|status| status.success()), "strace is missing: install it, nothing was checked");
    let mut command = traced(calls, &format!("error=ENOSPC:when={when}"));
    command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn traced(calls: &str, fault: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:{fault}")]);
    command
}

/// The system calls among which crash points are drawn.
pub const SYSCALLS: &str =
    "pwrite64,write,writev,fsync,fdatasync,ftruncate,sendto,sendmsg,recvfrom,openat,unlink,rename";

/// Whether a command (strace passes its child's fate on) ended by SIGKILL.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(9) || status.code() == Some(137)
}

/// A relay process that is killed when dropped.
pub struct Relay {
    child: Child,
    /// `ws://…#key`, to be given to clients.
    pub url: String,
}

impl Relay {
    /// Starts a relay on a folder and port and waits until it says that it listens. `None`: it died before.
    ///
    /// # Panics
    /// When the program is missing, or when it ends by itself.
    #[must_use]
    pub fn start(data: &Path, port: u16, kill_at: Option<u32>) -> Option<Self> {
        let (folder, listen) = (data.to_string_lossy().into_owned(), format!("127.0.0.1:{port}"));
        let args = ["serve", "--data", &folder, "--listen", &listen];
        let relay = program("lifeos-relay");
        let command = kill_at.map_or_else(|| with_args(&relay, &args), |nth| killed_at(nth, &relay, &args));
        Self::launch(data, command)
    }

    /// The same on a disk that is full from the `nth` write of the database on, counted in each thread.
    ///
    /// # Panics
    /// When a program is missing, or when it does not even begin to listen.
    #[must_use]
    pub fn start_on_full_disk(data: &Path, port: u16, nth: u32) -> Self {
        let (folder, listen) = (data.to_string_lossy().into_owned(), format!("127.0.0.1:{port}"));
        let serve = with_args(&program("lifeos-relay"), &["serve", "--data", &folder, "--listen", &listen]);
        let command = on_full_disk("pwrite64", &format!("{nth}+"), &serve);
        Self::launch(data, command).expect("nothing kills it")
    }

    fn launch(data: &Path, mut command: Command) -> Option<Self> {
        let log = data.with_extension("log");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a file for what the relay says"))
            .spawn()
            .expect("lifeos-relay starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let url = stdout.lines().map_while(Result::ok).find_map(|line| {
            let start = line.find("ws://")?;
            line[start..].split(['"', ' ', ',']).next().map(str::to_owned)
        });
        match url {
            Some(url) => Some(Self { child, url }),
            None => {
                let status = child.wait().expect("its end");
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                assert!(was_killed(status), "the relay ended by itself ({status}): {said}");
                None
            }
        }
    }

    /// Whether it died by the injected signal.
    pub fn died(&mut self) -> bool {
        self.child.try_wait().ok().flatten().is_some_and(was_killed)
    }

    /// Kills it and whatever it traces.
    pub fn kill(&mut self) {
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap_or_default();
        if children.is_empty() {
            let _ = self.child.kill();
        }
        // strace ends by itself after the last thread of what it traced. Only then nobody holds the port and the folder:
        // the first thread can be gone while others still hold both.
        for pid in children.split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

fn with_args(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// What a worker said before it ended.
#[derive(Debug)]
pub struct Said {
    /// Lines, in order: `ACK title`, `SYNCED title`, `DONE`.
    pub lines: Vec<String>,
    /// Whether it ended by SIGKILL.
    pub killed: bool,
    /// Whether it ended well.
    pub ok: bool,
}

/// Runs a worker, killed at the `nth` system call if given; its lines are the ledger, kept outside the system.
///
/// # Panics
/// When the program is missing.
#[must_use]
pub fn worker(args: &[&str], kill_at: Option<u32>) -> Said {
    let path = program("lifeos-worker");
    let mut command = kill_at.map_or_else(
        || {
            let mut command = Command::new(&path);
            command.args(args);
            command
        },
        |nth| killed_at(nth, &path, args),
    );
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("lifeos-worker starts");
    let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    Said { lines, killed: was_killed(output.status), ok: output.status.success() }
}
