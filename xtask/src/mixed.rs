//! Programs of an older commit beside those of today, in one space and at one relay.

use std::path::Path;
use std::time::Duration;

use crate::run::{capture, cargo, command, need, root, run, target};

/// What is taken for older, unless told otherwise.
const OLDER: &str = "HEAD~200";
const BUILD_MAX: Duration = Duration::from_secs(40 * 60);
const CHECK_MAX: Duration = Duration::from_secs(15 * 60);
const PROGRAMS: [&str; 2] = ["lifeos", "lifeos-relay"];

/// Builds both and has them meet; gives what was tried.
pub(crate) fn mixed(args: &[&str]) -> Result<String, String> {
    need("python3", "python3")?;
    let older = args.first().copied().unwrap_or(OLDER);
    let named = command("git", &["rev-parse", "--short=12", "--verify", &format!("{older}^{{commit}}")]).output();
    let named = named.ok().filter(|named| named.status.success());
    let named =
        named.ok_or_else(|| format!("there is no commit {older} here: name one, or fetch more of the history"))?;
    let named = String::from_utf8_lossy(&named.stdout).trim().to_owned();
    let folder = target().join("mixed");
    let (tree, then, now) = (folder.join("tree"), folder.join("older"), folder.join("todays"));
    for made in [&tree, &then, &now] {
        let _ = std::fs::remove_dir_all(made);
        std::fs::create_dir_all(made).map_err(|error| format!("{}: {error}", made.display()))?;
    }
    let archive = folder.join("older.tar");
    let (archive, place) = (archive.to_string_lossy(), tree.to_string_lossy());
    run(&mut command("git", &["archive", "--output", &archive, &named]), CHECK_MAX)?;
    run(&mut command("tar", &["-xf", &archive, "-C", &place]), CHECK_MAX)?;
    // Apart from today's: cargo takes the crates of two trees for the same when they lie at the same place in them.
    build(&tree, &folder.join("build"), &then)?;
    build(&root(), &target(), &now)?;
    let (then, now) = (then.to_string_lossy(), now.to_string_lossy());
    let said = capture(&mut command("python3", &["tests/mixed/check.py", &then, &now]), CHECK_MAX)?;
    let tried = said.lines().filter(|line| line.ends_with(": ok")).count();
    Ok(format!("{tried} ways to be together with {named}"))
}

/// Builds the programs of a tree and copies them.
fn build(tree: &Path, folder: &Path, to: &Path) -> Result<(), String> {
    let build = ["build", "--profile", "ci", "--locked", "--bins", "-p", "lifeos-cli", "-p", "lifeos-sync-server"];
    run(cargo(&build).current_dir(tree).env("CARGO_TARGET_DIR", folder), BUILD_MAX)?;
    for program in PROGRAMS {
        std::fs::copy(folder.join("ci").join(program), to.join(program))
            .map_err(|error| format!("{program}: {error}"))?;
    }
    Ok(())
}
