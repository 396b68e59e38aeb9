//! The seam of the whole-system simulation: whether a commit of a relay still takes place. Compiled with the feature
//! `simulation` alone, and asked only after [`enter`].

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// Told the data folder of a relay, says whether its commit takes place: one that is dead writes nothing any more.
pub type MayCommit = Rc<dyn Fn(&Path) -> bool>;

thread_local! {
    static MAY_COMMIT: RefCell<Option<MayCommit>> = const { RefCell::new(None) };
}

/// From here on relays of this thread run on it alone, and ask before they commit.
pub fn enter(may_commit: MayCommit) {
    MAY_COMMIT.with(|slot| *slot.borrow_mut() = Some(may_commit));
}

/// The world is over.
pub fn leave() {
    MAY_COMMIT.with(|slot| *slot.borrow_mut() = None);
}

pub(crate) fn is_on() -> bool {
    MAY_COMMIT.with(|slot| slot.borrow().is_some())
}

pub(crate) fn refuses_commit(data_dir: &Path) -> bool {
    let may_commit = MAY_COMMIT.with(|slot| slot.borrow().clone());
    may_commit.is_some_and(|may_commit| !may_commit(data_dir))
}
