//! A program at a terminal: `script` of util-linux (on every Debian) gives it one, and the test reads and types.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::process::program;
use crate::world::HANG;

/// A running `lifeos` whose input, output and errors are one terminal.
pub struct Terminal {
    child: Child,
    stdin: ChildStdin,
    shown: Receiver<Vec<u8>>,
    /// Everything that stands on the screen, what was typed at a visible prompt included.
    pub screen: String,
    read: usize,
}

impl Terminal {
    /// Runs `lifeos` on a home.
    ///
    /// # Panics
    /// When `script` or `lifeos` is missing.
    #[must_use]
    pub fn lifeos(home: &Path, args: &str) -> Self {
        let line = format!("{} --home {} {args}", program("lifeos").display(), home.display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--echo", "always", "--command", &line, "/dev/null"]);
        command.env_remove("LIFEOS_HOME").env_remove("LIFEOS_PASSPHRASE").env("NO_COLOR", "1").env("TERM", "xterm");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("script starts: it is in util-linux");
        let (stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut bytes) {
                if send.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, shown, screen: String::new(), read: 0 }
    }

    /// Waits until `text` is shown after what was waited for before; gives what stands between.
    ///
    /// # Panics
    /// When it is not shown in time, or the program ends without it.
    pub fn until(&mut self, text: &str) -> String {
        let end = Instant::now() + HANG;
        loop {
            if let Some(at) = self.screen[self.read..].find(text) {
                let before = self.screen[self.read..self.read + at].to_owned();
                self.read += at + text.len();
                return before;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.more(left), "`{text}` is not shown, but: {}", self.screen);
        }
    }

    /// Waits until the program has told its terminal not to show what is typed. A prompt is shown a moment before.
    ///
    /// # Panics
    /// When it does not do so in time.
    pub fn until_hidden(&self) {
        let end = Instant::now() + HANG;
        while !self.hides_typing().unwrap_or(false) {
            assert!(Instant::now() < end, "typing stays visible: {}", self.screen);
            std::thread::yield_now();
        }
    }

    fn hides_typing(&self) -> Option<bool> {
        let script = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).ok()?;
        let terminal = format!("/proc/{}/fd/0", children.split_whitespace().next()?);
        let said = Command::new("stty").args(["--file", &terminal, "--all"]).output().ok()?;
        Some(String::from_utf8_lossy(&said.stdout).split_whitespace().any(|word| word == "-echo"))
    }

    /// Types a line.
    ///
    /// # Panics
    /// When nobody reads it.
    pub fn line(&mut self, text: &str) {
        self.stdin.write_all(format!("{text}\n").as_bytes()).expect("somebody reads");
        self.stdin.flush().expect("somebody reads");
    }

    /// Waits for the end; gives the exit code.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + HANG;
        while self.more(end.saturating_duration_since(Instant::now())) {}
        assert!(Instant::now() < end, "the program does not end: {}", self.screen);
        self.child.wait().expect("it ends").code()
    }

    fn more(&mut self, wait: Duration) -> bool {
        let Ok(bytes) = self.shown.recv_timeout(wait) else { return false };
        self.screen.push_str(&String::from_utf8_lossy(&bytes));
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
