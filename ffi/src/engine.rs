//! The engine object: an open home with its runtime.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lifeos_client_core::client::{
    Client, ClientError, DatabaseForm, InitOptions, OpenOptions, PresenceDraft, SyncHandle,
};
use tokio::sync::watch;

use crate::error::LifeOsError;
use crate::events::EventStream;
use crate::link::LinkApprove;
use crate::records::{DevicePresence, DocumentHeads, SearchHit, Selection, Status, SyncReport};
use crate::runtime::Engine;

/// An open home. All functions may be called from any thread; local edits are durable when they return.
#[derive(uniffi::Object)]
pub struct LifeOs {
    engine: Arc<Engine>,
    client: Mutex<Option<Client>>,
    live: Mutex<Option<SyncHandle>>,
    stopped: watch::Sender<bool>,
}

/// A home that was made just now.
#[derive(uniffi::Record)]
pub struct NewHome {
    /// The open home.
    pub engine: Arc<LifeOs>,
    /// Twelve or twenty-four words: show them once, then forget them.
    pub recovery_phrase: String,
}

/// Makes a new home: keys, home space, recovery phrase. `relay` is a `ws://` or `wss://` address, optionally
/// with `#` and the relay's key, which pins it.
///
/// # Errors
/// [`LifeOsError::Home`] when there is one already.
#[uniffi::export]
pub async fn create_home(
    home: String,
    device_name: String,
    person_name: String,
    relay: Option<String>,
) -> Result<NewHome, LifeOsError> {
    let engine = Arc::new(Engine::start()?);
    let options = InitOptions { device_name, person_name, relay };
    let (client, phrase) = engine.block(move || Client::create(&PathBuf::from(home), options)).await?;
    Ok(NewHome { engine: LifeOs::new(engine, client), recovery_phrase: phrase.words().join(" ") })
}

/// Encrypts the database of a home that nobody has open, or decrypts it; false: it is like that already. It protects
/// only what the device's key does not lie beside: move that into the keystore first.
///
/// # Errors
/// [`LifeOsError::Invalid`] when this library was built without the cipher; [`LifeOsError::Storage`] while the home is
/// open somewhere; [`LifeOsError::Home`].
#[uniffi::export]
pub async fn set_database_encrypted(home: String, encrypted: bool) -> Result<bool, LifeOsError> {
    let form = if encrypted { DatabaseForm::Encrypted } else { DatabaseForm::Plain };
    let options = OpenOptions::default();
    let convert = move || Client::convert_database(&PathBuf::from(home), &options, form, &mut |_| {});
    Engine::start()?.block(convert).await
}

/// What the rest of this crate needs.
impl LifeOs {
    pub(crate) fn new(engine: Arc<Engine>, client: Client) -> Arc<Self> {
        let (stopped, _) = watch::channel(false);
        Arc::new(Self { engine, client: Mutex::new(Some(client)), live: Mutex::new(None), stopped })
    }

    /// The client, unless the engine was shut down.
    pub(crate) fn client(&self) -> Result<Client, LifeOsError> {
        lock(&self.client).clone().ok_or_else(LifeOsError::stopped)
    }

    /// The runtime.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Says when the engine was shut down.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    /// Runs an operation on the store, away from the host's thread.
    pub(crate) async fn local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, LifeOsError> {
        let client = self.client()?;
        self.engine.block(move || work(&client)).await
    }
}

#[uniffi::export]
impl LifeOs {
    /// Opens a home.
    ///
    /// # Errors
    /// [`LifeOsError::Home`] when there is none, or it is from a newer version.
    #[uniffi::constructor]
    pub async fn open(home: String) -> Result<Arc<Self>, LifeOsError> {
        let engine = Arc::new(Engine::start()?);
        let client = engine.block(move || Client::open(&PathBuf::from(home))).await?;
        Ok(Self::new(engine, client))
    }

    /// The home space, hex.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn space_id(&self) -> Result<String, LifeOsError> {
        Ok(self.client()?.space().to_string())
    }

    /// This device, hex.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn device_id(&self) -> Result<String, LifeOsError> {
        Ok(self.client()?.device().to_string())
    }

    /// What is not sent yet, what every relay and device has, what was set aside.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn status(&self) -> Result<Status, LifeOsError> {
        self.local(|client| client.status().map(Into::into)).await
    }

    /// Adds or replaces the relay address; `#` and the relay's key pin it.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn set_relay(&self, url: String) -> Result<(), LifeOsError> {
        self.local(move |client| client.set_relay(&url)).await
    }

    /// Heads of every document: equal on devices that have the same.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn heads(&self) -> Result<Vec<DocumentHeads>, LifeOsError> {
        self.local(|client| Ok(client.heads()?.into_iter().map(Into::into).collect())).await
    }

    /// SHA-256 over everything that can be listed and searched, hex: equal on devices that have the same.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn projection_digest(&self) -> Result<String, LifeOsError> {
        self.local(|client| Ok(client.projection_digest()?.iter().map(|byte| format!("{byte:02x}")).collect())).await
    }

    /// Full-text search: words, "phrases", prefix*, -without, tag:name.
    ///
    /// # Errors
    /// [`LifeOsError::Invalid`] for a query that cannot be read.
    pub async fn search(&self, query: String, limit: u32) -> Result<Vec<SearchHit>, LifeOsError> {
        self.local(move |client| Ok(client.search(&query, limit)?.into_iter().map(Into::into).collect())).await
    }

    /// Takes back this person's newest edit on this device; false: nothing to undo.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn undo(&self) -> Result<bool, LifeOsError> {
        self.local(Client::undo).await
    }

    /// Does again what was undone last; false: nothing to redo.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn redo(&self) -> Result<bool, LifeOsError> {
        self.local(Client::redo).await
    }

    /// One round of sync: sends everything, receives everything.
    ///
    /// # Errors
    /// [`LifeOsError::Network`], [`LifeOsError::Security`].
    pub async fn sync(&self) -> Result<SyncReport, LifeOsError> {
        let client = self.client()?;
        self.engine.run(async move { client.sync(&mut |_| {}).await.map(Into::into) }).await
    }

    /// Syncs from now on: reconnects by itself, sends edits as they are made. Twice is once.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn start_sync(&self) -> Result<(), LifeOsError> {
        let client = self.client()?;
        let mut live = lock(&self.live);
        if live.is_none() {
            *live = Some(self.engine.enter(|| client.sync_live())?);
        }
        Ok(())
    }

    /// Stops after what is under way is stored.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn stop_sync(&self) -> Result<(), LifeOsError> {
        let handle = lock(&self.live).take();
        let Some(handle) = handle else { return Ok(()) };
        let work = async move {
            handle.stop().await;
            Ok(())
        };
        self.engine.run(work).await
    }

    /// Shows the others of the space, while syncing live, that somebody is here and where. Call it as often as things
    /// change. Who shows nothing sees nobody.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn show_presence(
        &self,
        idle: bool,
        note: Option<String>,
        selection: Option<Selection>,
    ) -> Result<(), LifeOsError> {
        let selection =
            selection.map(|Selection { anchor, head }| lifeos_client_core::client::Selection { anchor, head });
        self.local(move |client| client.set_presence(Some(PresenceDraft { idle, note, selection }))).await
    }

    /// Shows nothing any more.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn hide_presence(&self) -> Result<(), LifeOsError> {
        self.local(|client| client.set_presence(None)).await
    }

    /// The other devices that are here now.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn presence(&self) -> Result<Vec<DevicePresence>, LifeOsError> {
        self.local(|client| Ok(client.presence()?.into_iter().map(Into::into).collect())).await
    }

    /// Events from now on.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn subscribe(&self) -> Result<Arc<EventStream>, LifeOsError> {
        Ok(EventStream::new(self.client()?.subscribe(), self.stopped.subscribe()))
    }

    /// On this device: answers the link that a new device shows.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn link_approve(&self, link: String) -> Result<Arc<LinkApprove>, LifeOsError> {
        let client = self.client()?;
        let approve = self.engine.run(async move { client.link_approve(&link).await }).await?;
        Ok(LinkApprove::new(Arc::clone(&self.engine), approve))
    }

    /// Stops syncing, ends all event streams and releases the home. Every later call is refused.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn shutdown(&self) -> Result<(), LifeOsError> {
        self.stop_sync().await?;
        self.stopped.send_replace(true);
        lock(&self.client).take();
        Ok(())
    }
}

/// A lock that a panic elsewhere does not poison: what it guards is one pointer, whole at all times.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
