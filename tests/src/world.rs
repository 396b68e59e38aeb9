//! A relay, homes that use it, and what tests of several devices or people do over and over.
//!
//! Everything panics when it does not go as it should: this is support of tests, where that is the wanted outcome.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeos_client_core::client::{Client, ClientError, InitOptions, NoteDraft, NoteFilter, Subscription, SyncReport};
use lifeos_client_core::event::Event;
use lifeos_client_core::keys::RecoveryPhrase;
use lifeos_sync_server::{Config, Handle, Server};
use tempfile::TempDir;
use tokio::time::timeout;

/// Far above what anything here takes; reached only when something hangs.
pub const HANG: Duration = Duration::from_secs(120);

/// An address where nobody listens.
pub const NOWHERE: &str = "ws://127.0.0.1:9";

/// A folder that goes with the test, and a relay whose data lies in it.
pub struct World {
    /// Holds the homes and the relay's data.
    pub dir: TempDir,
    /// The one relay of all homes.
    pub relay: Handle,
}

impl World {
    /// An empty folder and a relay that knows no space.
    ///
    /// # Panics
    /// When the relay does not start.
    pub async fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let relay = relay_in(&dir.path().join("relay")).await;
        Self { dir, relay }
    }

    /// The same homes, and an empty relay in the place of the one that was.
    ///
    /// # Panics
    /// When the relay does not start.
    pub async fn with_empty_relay(self) -> Self {
        self.relay.shutdown().await;
        let relay = relay_in(&self.dir.path().join("another relay")).await;
        Self { dir: self.dir, relay }
    }

    /// Where the home (or another folder) of that name lies.
    #[must_use]
    pub fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The first device of Ana, in the home "laptop".
    #[must_use]
    pub fn first(&self) -> Client {
        self.first_with_phrase().0
    }

    /// Like [`Self::first`], with the words that bring everything back.
    #[must_use]
    pub fn first_with_phrase(&self) -> (Client, RecoveryPhrase) {
        self.begin("laptop", "laptop", "Ana")
    }

    /// The first device of a person, in a home of that name.
    #[must_use]
    pub fn person(&self, name: &str) -> Client {
        self.begin(name, &format!("{name}'s laptop"), name).0
    }

    fn begin(&self, home: &str, device: &str, person: &str) -> (Client, RecoveryPhrase) {
        let options =
            InitOptions { device_name: device.into(), person_name: person.into(), relay: Some(self.relay.url()) };
        Client::create(&self.home(home), options).expect("a new home")
    }

    /// A new device in the home `name`, linked by the code that is typed back.
    ///
    /// # Panics
    /// When linking fails or hangs.
    pub async fn link(&self, old: &Client, name: &str) -> Client {
        let mut new = Client::link_new(&self.home(name), &self.relay.url(), name).await.expect("a link");
        let link = new.link().to_owned();
        // Both ends must be at it: the offer is answered while the code is waited for.
        let meeting = async { tokio::try_join!(old.link_approve(&link), new.code()) };
        let (mut approve, code) = timeout(HANG, meeting).await.expect("linking hangs").expect("both ends meet");
        assert_eq!(approve.device_name(), name);
        assert_eq!(approve.enter_code(&code).await.expect("the code goes"), None);
        timeout(HANG, new.finish()).await.expect("linking hangs").expect("the new device is in")
    }

    /// Ana's laptop and devices linked to it, all in step.
    ///
    /// # Panics
    /// When linking or a sync fails or hangs.
    pub async fn devices<const N: usize>(&self, names: [&str; N]) -> (Client, [Client; N]) {
        let laptop = self.first();
        sync(&laptop).await;
        let mut linked = Vec::new();
        for name in names {
            linked.push(self.link(&laptop, name).await);
        }
        for client in linked.iter().chain([&laptop]).chain(linked.iter()) {
            sync(client).await;
        }
        (laptop, linked.try_into().unwrap_or_else(|_| unreachable!("as many as there are names")))
    }
}

/// A relay on a free port with its data in that folder.
///
/// # Panics
/// When it does not start.
pub async fn relay_in(folder: &Path) -> Handle {
    Server::start(Config::local(folder)).await.expect("the relay starts")
}

/// A sync that has to go well.
///
/// # Panics
/// When it fails or hangs.
pub async fn sync(client: &Client) -> SyncReport {
    try_sync(client).await.expect("the sync fails")
}

/// A sync that may fail.
///
/// # Errors
/// What the sync says.
///
/// # Panics
/// When it hangs.
pub async fn try_sync(client: &Client) -> Result<SyncReport, ClientError> {
    timeout(HANG, client.sync(&mut |_| {})).await.expect("sync hangs")
}

/// As many rounds as it takes for everything of everybody to reach everybody.
///
/// # Panics
/// When a sync fails or hangs.
pub async fn sync_each(clients: &[&Client]) {
    for _ in 0..3 {
        for client in clients {
            sync(client).await;
        }
    }
}

/// A new note; gives its id.
///
/// # Panics
/// When the note cannot be made.
pub fn note(client: &Client, title: &str, markdown: &str) -> String {
    let draft = NoteDraft { title: title.into(), markdown: markdown.into(), ..NoteDraft::default() };
    client.note_create(draft).expect("a note").to_string()
}

/// A new note whose text is its title.
///
/// # Panics
/// When the note cannot be made.
pub fn titled(client: &Client, title: &str) -> String {
    note(client, title, &format!("{title}\n"))
}

/// The titles of all notes, sorted.
///
/// # Panics
/// When the notes cannot be read.
#[must_use]
pub fn titles(client: &Client) -> Vec<String> {
    let notes = client.notes(NoteFilter { limit: u32::MAX, ..NoteFilter::default() }).expect("the notes");
    let mut titles: Vec<_> = notes.into_iter().map(|note| note.title).collect();
    titles.sort();
    titles
}

/// All hold the same documents and show the same rows.
///
/// # Panics
/// When they do not.
pub fn assert_equal(clients: &[&Client]) {
    for client in &clients[1..] {
        assert_eq!(client.heads().unwrap(), clients[0].heads().unwrap());
        assert_eq!(client.projection_digest().unwrap(), clients[0].projection_digest().unwrap());
    }
}

/// All are equal, nothing waits to go out and nothing was set aside.
///
/// # Panics
/// When it is not so.
pub fn assert_settled(clients: &[&Client]) {
    assert_equal(clients);
    for client in clients {
        let status = client.status().unwrap();
        assert_eq!((status.changes_pending, status.envelopes_unsent), (0, 0));
        assert!(status.quarantine.is_empty(), "{:?}", status.quarantine);
    }
}

/// Waits for an event.
///
/// # Panics
/// When it does not come, or no event can come any more.
pub async fn until(events: &mut Subscription, wanted: impl Fn(&Event) -> bool) {
    let waiting = async {
        loop {
            match events.next().await {
                Some(event) if wanted(&event) => return,
                Some(_) => {}
                None => panic!("the events ended"),
            }
        }
    };
    timeout(HANG, waiting).await.expect("the event never comes");
}

/// Copies the files of a folder (a home, a relay's data) that `wanted` accepts by their name.
///
/// # Panics
/// When a file cannot be read or written.
pub fn copy_some(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let name = entry.expect("a file").file_name();
        if wanted(&name.to_string_lossy()) {
            std::fs::copy(from.join(&name), to.join(&name)).expect("a copy");
        }
    }
}

/// Copies all files of a folder.
///
/// # Panics
/// When a file cannot be read or written.
pub fn copy(from: &Path, to: &Path) {
    copy_some(from, to, |_| true);
}
