//! Results to stdout, messages to stderr, in one of two languages: text for people or JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::context::Global;
use crate::failure::Failure;
use crate::page::Page;
use crate::progress::Bar;

/// Where results and messages go.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    json: bool,
    quiet: bool,
    colour: bool,
}

impl Out {
    /// As the options and the terminal ask; `NO_COLOR` (no-color.org) turns colours off.
    #[must_use]
    pub fn from_global(global: &Global) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = !global.json && !plain && io::stdout().is_terminal();
        Self { json: global.json, quiet: global.quiet, colour }
    }

    /// For programs.
    #[must_use]
    pub const fn json() -> Self {
        Self { json: true, quiet: false, colour: false }
    }

    /// Whether programs read this.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at stdout.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// Writes a result: `value` as one line of JSON, or the page that `draw` fills.
    ///
    /// # Errors
    /// [`Failure::ReaderGone`] or [`Failure::Io`].
    pub fn result<T: Serialize>(&self, value: &T, draw: impl FnOnce(&mut Page)) -> Result<(), Failure> {
        let text = if self.json { json_line(value)? } else { self.draw(draw) };
        write_stdout(&text)
    }

    fn draw(&self, draw: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::new(self.colour);
        draw(&mut page);
        page.into_text()
    }

    /// Writes text for people as part of a longer result; nothing with `--json`.
    ///
    /// # Errors
    /// [`Failure::ReaderGone`] or [`Failure::Io`].
    pub fn people(&self, draw: impl FnOnce(&mut Page)) -> Result<(), Failure> {
        if self.json { Ok(()) } else { write_stdout(&self.draw(draw)) }
    }

    /// A message beside the result; nothing with `--quiet`.
    pub fn say(&self, message: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{message}");
        }
    }

    /// A progress bar; one that shows nothing where nobody looks.
    #[must_use]
    pub fn bar(&self) -> Bar {
        if self.json || self.quiet || !io::stderr().is_terminal() { Bar::hidden() } else { Bar::shown() }
    }

    /// Says why the command failed: text, or `{"error":{"kind","message","transient"}}`, on stderr.
    pub fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::ReaderGone) {
            return;
        }
        let message = failure.to_string();
        let line = if self.json {
            json!({"error": {"kind": failure.kind(), "message": message, "transient": failure.is_transient()}})
                .to_string()
        } else {
            format!("lifeos: {}", crate::page::many_lines(&message))
        };
        let _ = writeln!(io::stderr(), "{line}");
    }
}

fn json_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    let mut line = serde_json::to_string(value).map_err(|error| Failure::io("cannot write JSON", error.into()))?;
    line.push('\n');
    Ok(line)
}

fn write_stdout(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::io("cannot write the result", error),
    })
}

/// Logs go to stderr, and only when `LIFEOS_LOG` asks (`LIFEOS_LOG=info`, `LIFEOS_LOG=lifeos_client_core=debug`); a span is
/// told when it ends, with how long it took.
pub(crate) fn start_logging() {
    let Ok(filter) = EnvFilter::try_from_env("LIFEOS_LOG") else { return };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let _ = log.with_span_events(FmtSpan::CLOSE).with_ansi(io::stderr().is_terminal()).try_init();
}
