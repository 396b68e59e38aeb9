//! Runs every `sh` block of the README's tour in one shell, in a fresh folder, so that the tour stays true.

use std::time::Duration;

use crate::run::{Outcome, command, root, run, target};

/// Blocks marked ```` ```sh tour ```` are joined in order and run with `-euo pipefail`.
pub(crate) fn run_readme() -> Outcome {
    let readme = std::fs::read_to_string(root().join("README.md")).map_err(|error| format!("README.md: {error}"))?;
    let script = blocks(&readme, "sh tour").join("\n");
    if script.lines().count() < 10 {
        return Err("the README has no tour to run".into());
    }
    let folder = target().join("tour");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = format!("{}:{}", target().join("ci").display(), std::env::var("PATH").unwrap_or_default());
    let guard = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n";
    run(
        command("bash", &["-euo", "pipefail", "-c", &(guard.to_owned() + &script)])
            .current_dir(&folder)
            .env("PATH", path)
            .env("HOME", &folder)
            .env("NO_COLOR", "1"),
        Duration::from_secs(120),
    )
}

fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut found = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line.trim() == fence {
            found.push(lines.by_ref().take_while(|line| line.trim() != "```").collect::<Vec<_>>().join("\n"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn only_blocks_of_the_named_language_are_taken() {
        let text = "a\n```sh tour\none\ntwo\n```\n```sh\nthree\n```\n```sh tour\nfour\n```\n";
        assert_eq!(blocks(text, "sh tour"), ["one\ntwo", "four"]);
    }
}
