//! Secrets from people and scripts: recovery phrases, passphrases, words typed back; and a yes to what is for good.
//!
//! | what | at a terminal | in a script |
//! |---|---|---|
//! | recovery phrase | typed | first line of stdin |
//! | passphrase to open with | typed, not shown | `LIFEOS_PASSPHRASE_FD` (a number), `LIFEOS_PASSPHRASE` |
//! | new passphrase | typed twice, not shown | `LIFEOS_NEW_PASSPHRASE_FD`, `LIFEOS_NEW_PASSPHRASE` |
//!
//! A file descriptor is the better way: other programs of the same user can read a process's environment.

use std::env;
use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read, Write as _};

use console::Term;
use lifeos_client_core::client::Client;
use lifeos_client_core::crypto::SystemRandom;
use lifeos_client_core::keys::RecoveryPhrase;
use lifeos_client_core::keystore::Passphrase;
use lifeos_client_core::zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::Failure;

/// Bytes of a line that are read.
const LINE_BYTES_MAX: u64 = 4096;
/// Times that a person may mistype before the command gives up.
const TRIES: usize = 5;

/// Whether somebody sits in front of this and answers.
#[must_use]
pub fn is_interactive(context: &Context) -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal() && !context.out.is_json()
}

/// The recovery phrase. A person may correct a mistyped word; a script gets the error.
///
/// # Errors
/// [`Failure::Usage`] without one; [`Failure::Client`] with what is wrong in it.
pub fn phrase(context: &Context) -> Result<RecoveryPhrase, Failure> {
    let interactive = is_interactive(context);
    for _ in 0..TRIES {
        if interactive {
            prompt("Recovery phrase: ");
        }
        let line = line("no recovery phrase: type the 12 or 24 words on one line, or pipe them in")?;
        match RecoveryPhrase::parse(&line) {
            Ok(phrase) => return Ok(phrase),
            Err(error) if interactive => context.out.say(&error.to_string()),
            Err(error) => return Err(Failure::invalid(error.to_string())),
        }
    }
    Err(Failure::invalid("too many tries: read the words from the paper again, then run this once more"))
}

/// Three positions of a phrase to ask for.
#[must_use]
pub fn positions(phrase: &RecoveryPhrase) -> Vec<usize> {
    phrase.ask_back(&mut SystemRandom::new())
}

/// Has the person type words back. True when all were right; false when nobody sits there.
///
/// # Errors
/// [`Failure::Client`] after too many tries.
pub fn words_back(phrase: &RecoveryPhrase, asked: &[usize], context: &Context) -> Result<bool, Failure> {
    if !is_interactive(context) {
        return Ok(false);
    }
    context.out.say("To be sure that the words are on paper, type three of them.");
    for position in asked {
        word_back(phrase, *position, context)?;
    }
    Ok(true)
}

fn word_back(phrase: &RecoveryPhrase, position: usize, context: &Context) -> Result<(), Failure> {
    for _ in 0..TRIES {
        prompt(&format!("Word {position}: "));
        let typed = line("no word was typed: nothing was written")?;
        if phrase.has_word(position, &typed) {
            return Ok(());
        }
        context.out.say(&format!("That is not word {position}: look at the paper, count from 1."));
    }
    Err(Failure::invalid(
        "the words typed are not those shown: nothing was written; run this again and write them down",
    ))
}

/// The passphrase of a home or backup.
///
/// # Errors
/// [`Failure::Usage`] when nobody can be asked and no variable gives it.
pub fn passphrase(context: &Context, what: &str) -> Result<Passphrase, Failure> {
    let typed = match from_environment("LIFEOS_PASSPHRASE")? {
        Some(typed) => typed,
        None if is_interactive(context) => hidden(what)?,
        None => return Err(Failure::usage(format!("{what} is needed: set LIFEOS_PASSPHRASE_FD or LIFEOS_PASSPHRASE"))),
    };
    Passphrase::new(&typed).map_err(|error| Failure::invalid(error.to_string()))
}

/// A passphrase to protect something with, typed twice.
///
/// # Errors
/// [`Failure::Client`] for one that is too short or not typed alike; [`Failure::Usage`] as for [`passphrase`].
pub fn new_passphrase(context: &Context) -> Result<Passphrase, Failure> {
    let typed = match from_environment("LIFEOS_NEW_PASSPHRASE")? {
        Some(typed) => typed,
        None if is_interactive(context) => {
            let typed = hidden("New passphrase")?;
            if *hidden("The same again")? != *typed {
                return Err(Failure::invalid("the two were not the same: nothing was changed"));
            }
            typed
        }
        None => {
            let variables = "a new passphrase is needed: set LIFEOS_NEW_PASSPHRASE_FD or LIFEOS_NEW_PASSPHRASE";
            return Err(Failure::usage(variables));
        }
    };
    Passphrase::choose(&typed).map_err(|error| Failure::invalid(error.to_string()))
}

/// The passphrase of a home, if it has one.
///
/// # Errors
/// As [`passphrase`].
pub fn passphrase_of(home: &std::path::Path, context: &Context) -> Result<Option<Passphrase>, Failure> {
    match Client::key_protection(home) {
        Ok(kept) if kept.passphrase => passphrase(context, "the passphrase of this home").map(Some),
        // Whatever else is wrong with the key is told when the home is opened.
        _ => Ok(None),
    }
}

/// Whether a person goes on although it cannot be undone.
///
/// # Errors
/// [`Failure::Usage`] when nobody can be asked.
pub fn agrees(context: &Context, warning: &str) -> Result<bool, Failure> {
    if !is_interactive(context) {
        return Err(Failure::usage(format!("{warning} Say --yes to do it all the same.")));
    }
    context.out.say(warning);
    prompt("Type yes to go on: ");
    Ok(line("nothing was typed: nothing was done")?.trim().eq_ignore_ascii_case("yes"))
}

fn from_environment(name: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Ok(number) = env::var(format!("{name}_FD")) {
        let number: u32 = number.trim().parse().map_err(|_| Failure::usage(format!("{name}_FD is not a number")))?;
        let unreadable = |error| Failure::io(format!("cannot read from descriptor {number} ({name}_FD)"), error);
        let file = File::open(format!("/dev/fd/{number}")).map_err(unreadable)?;
        let mut text = Zeroizing::new(String::new());
        io::BufReader::new(file.take(LINE_BYTES_MAX)).read_line(&mut text).map_err(unreadable)?;
        return Ok(Some(text));
    }
    Ok(env::var(name).ok().map(Zeroizing::new))
}

fn hidden(what: &str) -> Result<Zeroizing<String>, Failure> {
    prompt(&format!("{what}: "));
    let typed = Term::stderr().read_secure_line().map_err(|error| Failure::io("cannot read the passphrase", error))?;
    Ok(Zeroizing::new(typed))
}

fn prompt(text: &str) {
    let _ = write!(io::stderr(), "{text}");
    let _ = io::stderr().flush();
}

fn line(missing: &str) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    // What is longer than this is not read into memory.
    match io::Read::take(io::stdin().lock(), LINE_BYTES_MAX).read_line(&mut line) {
        Ok(0) => Err(Failure::usage(missing)),
        Ok(_) => Ok(line),
        Err(error) => Err(Failure::io("cannot read stdin", error)),
    }
}
