//! Takes the defences away, one after the other or some together, and looks whether their tests notice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::copy::Copy;
use super::memory::{Memory, Seen};
use super::program::Program;
use super::{Defence, Target, all};
use crate::run::Outcome;

/// So few that a test hardly fails because of another entry's change.
const TOGETHER_MAX: usize = 8;

/// How an entry came out.
enum Verdict {
    /// Every test named failed.
    Fired(Seen),
    /// These passed although the defence was gone.
    Silent(Vec<String>),
    /// The entry does not say what it should.
    Wrong(String),
}

/// The counts of a run, for the record; and what was wrong.
pub(crate) struct Report {
    /// One line.
    pub(crate) counts: String,
    /// What to mend.
    pub(crate) outcome: Outcome,
}

/// What to try, and how.
#[derive(Default)]
struct Wish {
    /// Attacks; all when there are none.
    numbers: BTreeSet<u32>,
    /// Several in one build first, and alone what was not noticed then.
    together: bool,
    /// No entry is begun later.
    end: Option<Instant>,
}

impl Wish {
    fn read(args: &[&str]) -> Result<Self, String> {
        let mut wish = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let number = |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is no number"));
            match *arg {
                "--together" => wish.together = true,
                "--minutes" => {
                    let minutes = number(args.next().copied().unwrap_or_default())?;
                    wish.end = Some(Instant::now() + Duration::from_secs(60 * u64::from(minutes)));
                }
                arg => _ = wish.numbers.insert(number(arg)?),
            }
        }
        Ok(wish)
    }

    fn wants(&self, defence: &Defence) -> bool {
        self.numbers.is_empty() || self.numbers.contains(&defence.attack)
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Tries the entries of these attacks, or all, that have not fired on these texts yet.
///
/// `--together` is content with what fired beside others, and `--minutes N` begins no entry after that time.
pub(crate) fn run(args: &[&str]) -> Result<Report, String> {
    let wish = Wish::read(args)?;
    let chosen: Vec<&Defence> = all().filter(|it| wish.wants(it)).collect();
    if chosen.is_empty() {
        return Err("no entry has such a number".into());
    }
    let copy = Copy::refresh("defences/tree")?;
    let mut memory = Memory::open(copy.folder());
    let enough = if wish.together { Seen::Together } else { Seen::Alone };
    let todo: Vec<_> = chosen.iter().copied().filter(|it| memory.seen(it).is_none_or(|seen| seen < enough)).collect();
    eprintln!("  {} entries to try of {}", todo.len(), chosen.len());
    let mut tried = Tried { copy, memory, wish, count: todo.len(), done: 0, complaints: Vec::new() };
    for group in by_program(&todo) {
        tried.group(&group)?;
    }
    Ok(tried.report(&chosen))
}

/// Entries of one program of tests stand together, so that what is built for one helps the next; the program with the
/// most comes last, so that a run that is cut short has tried something of each.
fn by_program<'d>(defences: &[&'d Defence]) -> Vec<Vec<&'d Defence>> {
    let mut groups: BTreeMap<(&str, Target), Vec<&Defence>> = BTreeMap::new();
    for defence in defences {
        groups.entry((defence.package, defence.target)).or_default().push(defence);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(Vec::len);
    groups
}

struct Tried {
    copy: Copy,
    memory: Memory,
    wish: Wish,
    count: usize,
    done: usize,
    complaints: Vec<String>,
}

impl Tried {
    /// Before the first entry the tests must pass, or their failing would prove nothing.
    fn group(&mut self, group: &[&'static Defence]) -> Outcome {
        let Some(first) = group.first().filter(|_| !self.wish.is_over()) else { return Ok(()) };
        eprintln!("  {} {:?}", first.package, first.target);
        let whole = match Program::build(&self.copy, first) {
            Ok(whole) => whole,
            Err(reason) => {
                let verdict = Verdict::Wrong(format!("the sources as they are: {reason}"));
                return group.iter().try_for_each(|defence| self.note(defence, &verdict, Duration::ZERO));
            }
        };
        let unfit = whole.unfit(group.iter().flat_map(|defence| defence.tests).copied())?;
        let mut rest = Vec::new();
        for defence in group {
            match defence.tests.iter().find_map(|name| unfit.get(name)) {
                Some(reason) => self.note(defence, &Verdict::Wrong(reason.clone()), Duration::ZERO)?,
                None => rest.push(*defence),
            }
        }
        if self.wish.together {
            rest = self.some_at_once(&whole, rest)?;
        }
        for defence in rest {
            if self.wish.is_over() {
                break;
            }
            let start = Instant::now();
            let verdict = without(&self.copy, defence);
            self.note(defence, &verdict, start.elapsed())?;
        }
        Ok(())
    }

    /// Gives those that were not noticed beside others: their tests may have been kept from failing, or not.
    fn some_at_once(&mut self, whole: &Program, group: Vec<&'static Defence>) -> Result<Vec<&'static Defence>, String> {
        let mut rest = Vec::new();
        for batch in batches(whole, group) {
            if batch.len() < 2 || self.wish.is_over() {
                rest.extend(batch);
                continue;
            }
            let start = Instant::now();
            let fired = without_all(&self.copy, &batch).unwrap_or_else(|reason| {
                eprintln!("  {} together: {reason}", batch.len());
                vec![false; batch.len()]
            });
            let each = start.elapsed() / u32::try_from(batch.len()).unwrap_or(1);
            for (defence, fired) in batch.into_iter().zip(fired) {
                if fired {
                    self.note(defence, &Verdict::Fired(Seen::Together), each)?;
                } else {
                    rest.push(defence);
                }
            }
        }
        Ok(rest)
    }

    fn note(&mut self, defence: &Defence, verdict: &Verdict, took: Duration) -> Outcome {
        self.done += 1;
        let said = match verdict {
            Verdict::Fired(seen) => {
                self.memory.add(defence, *seen)?;
                format!("fired {seen:?} ({} tests)", defence.tests.len()).to_lowercase()
            }
            Verdict::Silent(tests) => format!("NOT NOTICED by {}", tests.join(", ")),
            Verdict::Wrong(reason) => format!("WRONG ENTRY: {reason}"),
        };
        let line = format!("attack {}, {}: {said}", defence.attack, defence.how);
        eprintln!("  [{}/{}] {line}, {} s", self.done, self.count, took.as_secs());
        if !matches!(verdict, Verdict::Fired(_)) {
            self.complaints.push(line);
        }
        Ok(())
    }

    fn report(mut self, chosen: &[&Defence]) -> Report {
        let seen: Vec<_> = chosen.iter().map(|defence| self.memory.seen(defence)).collect();
        let count = |what: Option<Seen>| seen.iter().filter(|seen| **seen == what).count();
        let (alone, together) = (count(Some(Seen::Alone)), count(Some(Seen::Together)));
        let complained = self.complaints.len();
        let untried = count(None).saturating_sub(complained);
        let counts = format!(
            "{} entries: {alone} noticed when taken away alone, {together} when taken away with at most {} others, \
             {complained} not noticed or wrong, {untried} not tried ({} tried in this run, the others before, on the \
             same texts of entry, file and tests)",
            chosen.len(),
            TOGETHER_MAX - 1,
            self.done,
        );
        let outcome = if self.complaints.is_empty() { Ok(()) } else { Err(self.complaints.join("; ")) };
        eprintln!("  {counts}");
        Report { counts, outcome }
    }
}

/// Puts entries together that change different files and whose tests stand in different modules, each at most
/// [`TOGETHER_MAX`].
fn batches(whole: &Program, entries: Vec<&'static Defence>) -> Vec<Vec<&'static Defence>> {
    let mut batches: Vec<Vec<&Defence>> = Vec::new();
    let modules = |defence: &Defence| -> BTreeSet<String> {
        defence.tests.iter().map(|name| whole.module(name).unwrap_or_default()).collect()
    };
    for entry in entries {
        let own = modules(entry);
        let is_apart = |other: &&Defence| other.file != entry.file && modules(other).is_disjoint(&own);
        match batches.iter_mut().find(|batch| batch.len() < TOGETHER_MAX && batch.iter().all(is_apart)) {
            Some(batch) => batch.push(entry),
            None => batches.push(vec![entry]),
        }
    }
    batches
}

/// Builds without the defence and runs its tests.
fn without(copy: &Copy, defence: &Defence) -> Verdict {
    let tried = copy.change(defence.file, defence.find, defence.put).and_then(|_changed| {
        let program = Program::build(copy, defence)?;
        let mut passed = Vec::new();
        for name in defence.tests {
            if program.passes(name)? {
                passed.push((*name).to_owned());
            }
        }
        Ok(passed)
    });
    match tried {
        Ok(passed) if passed.is_empty() => Verdict::Fired(Seen::Alone),
        Ok(passed) => Verdict::Silent(passed),
        Err(reason) => Verdict::Wrong(reason),
    }
}

/// Builds without all of these defences, and says of each whether all of its tests failed.
fn without_all(copy: &Copy, batch: &[&'static Defence]) -> Result<Vec<bool>, String> {
    let mut changed = Vec::new();
    for defence in batch {
        changed.push(copy.change(defence.file, defence.find, defence.put)?);
    }
    let Some(first) = batch.first() else { return Ok(Vec::new()) };
    let program = Program::build(copy, first)?;
    let has_fired = |defence: &&Defence| defence.tests.iter().all(|name| program.passes_soon(name) == Ok(false));
    Ok(batch.iter().map(has_fired).collect())
}
