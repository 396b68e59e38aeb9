//! The independent decoder: Python opens every golden vector in a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::run::{Outcome, cargo, command, need, run, target};

/// Opens all vectors; the decoder itself fails when it looked at none or left one out.
pub(crate) fn check() -> Outcome {
    let python = python("decoder", "cryptography", "tests/decoder/requirements.txt")?;
    run(&mut command(python, &["tests/decoder/check.py"]), Duration::from_secs(180))
}

/// A Python in a virtual environment of its own that has a module.
pub(crate) fn python(name: &str, module: &str, requirements: &str) -> Result<PathBuf, String> {
    need("python3", "python3")?;
    let venv = target().join(name);
    let python = venv.join("bin/python");
    if !ready(&python, module) {
        install(&venv, requirements)?;
    }
    Ok(python)
}

/// Whether the module can be loaded: then nothing is fetched.
fn ready(python: &Path, module: &str) -> bool {
    let import = format!("import {module}");
    python.exists() && run(&mut command(python, &["-c", &import]), Duration::from_secs(60)).is_ok()
}

fn install(venv: &Path, requirements: &str) -> Outcome {
    let cap = Duration::from_secs(180);
    if run(&mut command("python3", &["-m", "venv", &venv.to_string_lossy()]), cap).is_err() {
        // Debian keeps the module `venv` in a package of its own.
        run(&mut command("apt-get", &["install", "-y", "-q", "--no-install-recommends", "python3-venv"]), cap)?;
        run(&mut command("python3", &["-m", "venv", &venv.to_string_lossy()]), cap)?;
    }
    run(&mut command(venv.join("bin/pip"), &["install", "--quiet", "-r", requirements]), cap)
}

/// Writes what the registry declares into the documents of the modules.
pub(crate) fn docs() -> Outcome {
    let test = "the_documents_of_modules_say_what_the_registry_declares";
    let mut write = cargo(&["test", "--profile", "ci", "--locked", "-p", "lifeos-client-core", "--lib", test]);
    run(write.env("LIFEOS_DOCS", "write"), Duration::from_secs(20 * 60))
}

/// What the code makes today against the golden files, then the decoder.
pub(crate) fn vectors() -> Outcome {
    // The whole workspace, so that dependencies keep the features they were built with.
    run(&mut cargo(&["test", "--profile", "ci", "--locked", "--workspace", "vectors"]), Duration::from_secs(20 * 60))?;
    check()
}
