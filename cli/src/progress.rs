//! Progress of long work as a bar on stderr, one per phase.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lifeos_client_core::client::ProgressStep;

/// A bar, or nothing where nobody looks.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    phase: &'static str,
    total: Option<u64>,
}

impl Bar {
    /// Shows nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), phase: "", total: None }
    }

    /// Draws on stderr.
    #[must_use]
    pub fn shown() -> Self {
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()), phase: "", total: None }
    }

    /// Takes one step of the work; a new phase starts the bar again.
    pub fn step(&mut self, step: &ProgressStep) {
        if step.phase != self.phase {
            self.phase = step.phase;
            self.bar.reset();
            self.bar.set_message(step.phase);
        }
        if self.total != Some(step.total) {
            self.total = Some(step.total);
            self.bar.set_style(style(step.total > 0));
            self.bar.set_length(step.total);
        }
        self.bar.set_position(step.done);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn style(total_known: bool) -> ProgressStyle {
    let template =
        if total_known { "{msg:<8} {wide_bar} {pos}/{len} {elapsed}" } else { "{spinner} {msg:<8} {pos} {elapsed}" };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
