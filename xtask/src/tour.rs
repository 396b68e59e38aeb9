//! Runs every `sh` block of the README's tour in one shell, in a fresh folder, so that the tour stays true.

use std::time::Duration;

use crate::run::{Outcome, command, root, run, target};

/// Blocks marked ```` ```sh tour ```` are joined in order and run with `-euo pipefail`.
pub(crate) fn run_readme() -> Outcome {
    let readme = std::fs::read_to_string(root().join("README.md")).map_err(|error| format!("README.md: {error}"))?;
    let tour = blocks(&readme, "sh tour");
    let script = tour.join("\n");
    check(&tour)?;
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
            // The tour begins in a temporary folder; it is to lie below this one.
            .env("TMPDIR", &folder)
            .env("NO_COLOR", "1"),
        Duration::from_secs(120),
    )
}

/// What a shell without a terminal does not notice, and a person who pastes the blocks does.
fn check(blocks: &[String]) -> Outcome {
    if blocks.iter().flat_map(|block| block.lines()).count() < 10 {
        return Err("the README has no tour to run".into());
    }
    let asks = |block: &&String| block.lines().any(|line| line.contains(" init ")) && block.lines().count() > 1;
    if let Some(block) = blocks.iter().find(asks) {
        return Err(format!("`init` asks questions at a terminal and must be alone in its block:\n{block}"));
    }
    if let Some(block) = blocks.iter().find(|block| block.contains("wait %") || block.contains("kill %")) {
        return Err(format!("job numbers differ in a shell that has other jobs; use `$!`:\n{block}"));
    }
    Ok(())
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
    use super::{blocks, check};

    #[test]
    fn only_blocks_of_the_named_language_are_taken() {
        let text = "a\n```sh tour\none\ntwo\n```\n```sh\nthree\n```\n```sh tour\nfour\n```\n";
        assert_eq!(blocks(text, "sh tour"), ["one\ntwo", "four"]);
    }

    #[test]
    fn a_block_that_a_person_cannot_paste_is_refused() {
        let tour = |block: &str| check(&["true\n".repeat(10), block.to_owned()]);
        assert!(tour("lifeos init --name a").is_ok());
        assert!(tour("lifeos --home a init --name a\nlifeos note list").is_err());
        assert!(tour("sleep 1 &\nwait %2").is_err());
        assert!(check(&["one line".to_owned()]).is_err());
    }
}
