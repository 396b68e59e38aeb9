//! The independent decoder: Python opens every golden vector in a virtual environment of its own.

use std::path::Path;
use std::time::Duration;

use crate::run::{Outcome, cargo, command, need, run, target};

/// Opens all vectors; the decoder itself fails when it looked at none or left one out.
pub(crate) fn check() -> Outcome {
    need("python3", "python3")?;
    let venv = target().join("decoder");
    let python = venv.join("bin/python");
    if !ready(&python) {
        install(&venv)?;
    }
    run(&mut command(python, &["tests/decoder/check.py"]), Duration::from_secs(180))
}

/// Whether the primitives can be loaded: then nothing is fetched.
fn ready(python: &Path) -> bool {
    python.exists() && run(&mut command(python, &["-c", "import cryptography"]), Duration::from_secs(60)).is_ok()
}

fn install(venv: &Path) -> Outcome {
    let cap = Duration::from_secs(180);
    if run(&mut command("python3", &["-m", "venv", &venv.to_string_lossy()]), cap).is_err() {
        // Debian keeps the module `venv` in a package of its own.
        run(&mut command("apt-get", &["install", "-y", "-q", "--no-install-recommends", "python3-venv"]), cap)?;
        run(&mut command("python3", &["-m", "venv", &venv.to_string_lossy()]), cap)?;
    }
    run(&mut command(venv.join("bin/pip"), &["install", "--quiet", "-r", "tests/decoder/requirements.txt"]), cap)
}

/// What the code makes today against the golden files, then the decoder.
pub(crate) fn vectors() -> Outcome {
    // The whole workspace, so that dependencies keep the features they were built with.
    run(&mut cargo(&["test", "--profile", "ci", "--locked", "--workspace", "vectors"]), Duration::from_secs(20 * 60))?;
    check()
}
