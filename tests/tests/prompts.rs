//! What a person is asked at a terminal: words typed back, passphrases that are not shown, the code of a new device.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lifeos_tests::process::{Relay, free_port};
use lifeos_tests::terminal::Terminal;

const BEGIN: &str = "init --name laptop --person tester";

/// Reads the phrase off the screen.
fn words_shown(terminal: &mut Terminal) -> Vec<String> {
    terminal.until("nobody can reset it.");
    let words = terminal.until("Whoever has the words");
    let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words.len(), 12, "{words:?}");
    words
}

/// Which word is asked for, counted from 1.
fn position_asked(terminal: &mut Terminal) -> usize {
    terminal.until("Word ");
    terminal.until(": ").parse().unwrap()
}

/// Begins a home as a careful person does.
fn begin(home: &std::path::Path, args: &str) {
    let mut terminal = Terminal::lifeos(home, &format!("{BEGIN} {args}"));
    let words = words_shown(&mut terminal);
    for _ in 0..3 {
        let position = position_asked(&mut terminal);
        terminal.line(&words[position - 1]);
    }
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen);
}

#[test]
fn three_words_are_asked_back_and_a_wrong_one_may_be_typed_again() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut terminal = Terminal::lifeos(&home, BEGIN);
    let words = words_shown(&mut terminal);
    for attempt in 0..3 {
        let position = position_asked(&mut terminal);
        if attempt == 1 {
            terminal.line("wrong");
            terminal.until(&format!("That is not word {position}"));
            assert_eq!(position_asked(&mut terminal), position);
        }
        assert!(!home.exists(), "nothing is written before the words are checked");
        terminal.line(&words[position - 1]);
    }
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen);
    let mut terminal = Terminal::lifeos(&home, "key show");
    terminal.until("was typed back and is right");
}

#[test]
fn who_cannot_type_a_word_back_begins_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut terminal = Terminal::lifeos(&home, BEGIN);
    words_shown(&mut terminal);
    for _ in 0..5 {
        position_asked(&mut terminal);
        terminal.line("wrong");
    }
    terminal.until("nothing was written");
    assert_eq!(terminal.end(), Some(1));
    assert!(!home.exists());
}

#[test]
fn a_passphrase_is_typed_twice_alike_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    begin(&home, "");
    let typed = |args: &str, lines: &[(&str, &str)]| {
        let mut terminal = Terminal::lifeos(&home, args);
        for (prompt, line) in lines {
            terminal.until(prompt);
            terminal.until_hidden();
            terminal.line(line);
        }
        let code = terminal.end();
        assert!(!lines.iter().any(|(_, line)| terminal.screen.contains(line)), "shown: {}", terminal.screen);
        (code, std::mem::take(&mut terminal.screen))
    };
    let (first, second) = (("New passphrase: ", "correct horse battery"), ("The same again: ", "correct horse batter"));
    let (code, screen) = typed("key passphrase set", &[first, second]);
    assert!(code == Some(1) && screen.contains("not the same"), "{screen}");
    let (code, screen) = typed("key passphrase set", &[first, ("The same again: ", first.1)]);
    assert!(code == Some(0) && screen.contains("asked for by every command"), "{screen}");

    let prompt = "the passphrase of this home: ";
    let (code, screen) = typed("note list", &[(prompt, "another passphrase")]);
    assert!(code == Some(1) && screen.contains("passphrase"), "{screen}");
    let (code, screen) = typed("note list", &[(prompt, first.1)]);
    assert_eq!(code, Some(0), "{screen}");
}

#[test]
fn long_work_shows_how_far_it_is_and_a_link_can_be_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(&dir.path().join("relay"), free_port(), None).unwrap();
    let home = dir.path().join("home");
    begin(&home, &format!("--relay '{}'", relay.url));
    let vault = dir.path().join("vault");
    std::fs::create_dir(&vault).unwrap();
    for at in 0..7 {
        std::fs::write(vault.join(format!("{at}.md")), format!("# Note {at}\n")).unwrap();
    }
    // A bar names its phase and counts up to a total that is known before the first step.
    let bar = |args: &str, phase: &str, total: &str| {
        let mut terminal = Terminal::lifeos(&home, args);
        assert_eq!(terminal.end(), Some(0), "{}", terminal.screen);
        let drawn = terminal.screen.split(['\r', '\n']).filter(|line| line.contains(&format!("{phase} ")));
        let bars: Vec<_> = drawn.filter(|line| line.contains('░') || line.contains('█')).collect();
        assert!(bars.iter().any(|line| line.contains(total)), "no bar of {phase} in {:?}", terminal.screen);
    };
    bar(&format!("import markdown {}", vault.display()), "import", "/7 ");
    bar("sync", "push", "/");
    bar(&format!("export {}", dir.path().join("out").display()), "export", "/7 ");

    let mut new =
        Terminal::lifeos(&dir.path().join("phone"), &format!("link new --name phone --relay '{}'", relay.url));
    let above = new.until("lifeos link approve ");
    let rows = above.lines().filter(|line| line.matches(['▀', '▄', '█']).count() > 10).count();
    assert!(rows > 15, "no QR code in {above}");
}

#[test]
fn the_code_of_a_new_device_is_asked_for_until_it_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(&dir.path().join("relay"), free_port(), None).unwrap();
    let (laptop, phone) = (dir.path().join("laptop"), dir.path().join("phone"));
    begin(&laptop, &format!("--relay '{}'", relay.url));
    let mut new = Terminal::lifeos(&phone, &format!("link new --name phone --relay '{}'", relay.url));
    new.until("lifeos link approve ");
    let link = new.until("\r\n");
    let mut old = Terminal::lifeos(&laptop, &format!("link approve {link}"));
    old.until("phone asks to be let in.");
    new.until("Code: ");
    let code = new.until("\r\n");
    old.until("Code shown on the new device: ");
    old.line(if code == "000 000" { "000 001" } else { "000 000" });
    old.until("That is not the code; 2 more to try.");
    old.until("Code shown on the new device: ");
    old.line(&code);
    old.until("phone is one of your devices now.");
    new.until("Linked. This device is phone");
    assert_eq!((old.end(), new.end()), (Some(0), Some(0)));
}
