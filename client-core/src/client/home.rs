//! How a home comes into being, is opened, and finds its relay.

use std::path::Path;
use std::sync::Arc;

use lifeos_sync_protocol::envelope::stream_id;
use lifeos_sync_protocol::ids::{DocId, MemberId, SignPk, SpaceId};
use lifeos_sync_protocol::record::Record;

use super::names::given;
use super::{Client, ClientError, InitOptions};
use crate::crypto::{SystemRandom, random_bytes};
use crate::document::singleton_doc_id;
use crate::engine::Shared;
use crate::keys::{DeviceKeys, DeviceRoot, PhraseLength, RecoveryPhrase};
use crate::keystore::{Passphrase, system_keystore};
use crate::modules::noted::note_relay;
use crate::modules::space::{set_device_name, set_member_name};
use crate::records::{Founding, found_space};
use crate::registry::SPACE_GENESIS;
use crate::store::{DATABASE_FILE, NewHome, NewSpace, Reader, Step, Store, StoreError, unlock_device_root};
use crate::transport::RelayUrl;

/// Key of the `meta` table: what this device is called.
pub(super) const META_DEVICE_NAME: &str = "device_name";

/// Key of the `meta` table: a recovery was begun here by this recovery key and is not finished.
pub(super) const META_RECOVERING: &str = "recovering";
/// Key of the `meta` table: the recovery key of the words that were typed back here; empty after words were made here and
/// not typed back; absent where nobody made or typed any.
pub(super) const META_PHRASE_CHECKED: &str = "phrase_checked";

/// The document with the names of devices and members.
pub(super) fn space_doc(space: &SpaceId) -> DocId {
    singleton_doc_id(space, "space", "")
}

/// Everything a home begins with, wherever its space came from.
pub(super) struct Beginning<'a> {
    pub(super) root: &'a DeviceRoot,
    pub(super) keys: &'a DeviceKeys,
    pub(super) space: SpaceId,
    pub(super) member: MemberId,
    pub(super) records: Vec<Record>,
    pub(super) device_name: &'a str,
    pub(super) person_name: &'a str,
    pub(super) relay: Option<&'a RelayUrl>,
}

/// A home that is about to be made: its recovery phrase can be shown and checked before anything is written.
pub struct HomeDraft {
    options: InitOptions,
    relay: Option<RelayUrl>,
    phrase: RecoveryPhrase,
}

impl HomeDraft {
    /// The words, to be shown once.
    #[must_use]
    pub const fn phrase(&self) -> &RecoveryPhrase {
        &self.phrase
    }

    /// Makes the home: keys, home space, first epoch. `checked` says that the words were typed back.
    /// # Errors
    /// [`ClientError::Home`] when there is one already.
    pub fn create(self, home: &Path, checked: bool) -> Result<Client, ClientError> {
        let mut random = SystemRandom::new();
        let root = DeviceRoot::generate(&mut random);
        let genesis_random = random_bytes(&mut random);
        let member = MemberId(random_bytes(&mut random));
        let keys = root.derive_space(&genesis_random);
        let recovery = self.phrase.derive_home();
        let founding = Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays: Vec::new() };
        let founded = found_space(&founding, &mut random).map_err(|error| ClientError::invalid(error.to_string()))?;
        let beginning = Beginning {
            root: &root,
            keys: &keys,
            space: founded.space,
            member,
            records: vec![founded.genesis, founded.epoch],
            device_name: &self.options.device_name,
            person_name: &self.options.person_name,
            relay: self.relay.as_ref(),
        };
        let store = Client::make_home(home, &beginning)?;
        let begun = Client::furnish(home, store, &beginning).and_then(|client| {
            client.note_phrase(&recovery.sign_pk(), checked)?;
            Ok(client)
        });
        if begun.is_err() {
            // Left as it is, it would be a home whose words nobody was shown. What went wrong first is what is told.
            let _ = Store::take_back(home);
        }
        begun
    }
}

/// How a home is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The passphrase, if one protects the device's key ([`Client::key_protection`]).
    pub passphrase: Option<Passphrase>,
}

/// A space with a new stream of this device.
pub(super) fn new_space(space: SpaceId, device: SignPk, records: Vec<Record>) -> NewSpace {
    let stream_r32 = random_bytes(&mut SystemRandom::new());
    NewSpace { space, device, stream: stream_id(&space, &device, &stream_r32), stream_r32, records }
}

impl Client {
    /// Prepares a home and its recovery phrase; writes nothing.
    /// # Errors
    /// [`ClientError::Invalid`] for a bad relay address; [`ClientError::Home`] when there is a home already.
    pub fn draft(home: &Path, options: InitOptions, length: PhraseLength) -> Result<HomeDraft, ClientError> {
        let relay: Option<RelayUrl> = options.relay.as_deref().map(str::parse).transpose()?;
        for name in [&options.device_name, &options.person_name] {
            if !name.trim().is_empty() {
                given(name)?;
            }
        }
        if home.join(DATABASE_FILE).exists() {
            return Err(StoreError::HomeExists.into());
        }
        let phrase = RecoveryPhrase::generate(length, &mut SystemRandom::new());
        Ok(HomeDraft { options, relay, phrase })
    }

    /// Makes a new home: keys, home space, first epoch. Returns the recovery phrase, which is shown once.
    /// # Errors
    /// [`ClientError::Home`] when there is one already.
    pub fn create(home: &Path, options: InitOptions) -> Result<(Self, RecoveryPhrase), ClientError> {
        let draft = Self::draft(home, options, PhraseLength::Words12)?;
        let phrase = draft.phrase().clone();
        Ok((draft.create(home, false)?, phrase))
    }

    /// Writes a home and opens it. The space's names go through the one door like every other edit.
    pub(super) fn begin(home: &Path, beginning: &Beginning<'_>) -> Result<Self, ClientError> {
        let store = Self::make_home(home, beginning)?;
        Self::furnish(home, store, beginning)
    }

    fn make_home(home: &Path, beginning: &Beginning<'_>) -> Result<Store, ClientError> {
        let space = new_space(beginning.space, beginning.keys.sign_pk(), beginning.records.clone());
        let meta: &[(&str, &[u8])] = &[(META_DEVICE_NAME, beginning.device_name.as_bytes())];
        Ok(Store::create(home, &NewHome { root: beginning.root, space, meta })?)
    }

    /// Relay and names, after which the home is whole.
    fn furnish(home: &Path, mut store: Store, beginning: &Beginning<'_>) -> Result<Self, ClientError> {
        if let Some(relay) = beginning.relay {
            store.put_relay(&beginning.space, relay.address(), relay.key().as_ref())?;
        }
        let client = Self::assemble(home, store, beginning.root.clone())?;
        client.name_device(&beginning.member, beginning.device_name, beginning.person_name)?;
        Ok(client)
    }

    pub(super) fn name_device(
        &self,
        member: &MemberId,
        device_name: &str,
        person_name: &str,
    ) -> Result<(), ClientError> {
        let (device, doc) = (self.device(), space_doc(&self.space()));
        self.edit(&doc, SPACE_GENESIS, Step::None, |names| {
            if !device_name.trim().is_empty() {
                set_device_name(names, &device, device_name)?;
            }
            if !person_name.trim().is_empty() {
                set_member_name(names, member, person_name)?;
            }
            Ok(())
        })
    }

    /// Opens a home.
    /// # Errors
    /// [`ClientError::Home`] when there is none, or it is from a newer version.
    pub fn open(home: &Path) -> Result<Self, ClientError> {
        Self::open_with(home, &OpenOptions::default())
    }

    /// Opens a home whose key a passphrase protects.
    /// # Errors
    /// [`ClientError::Home`] when there is none, it is from a newer version, its key can be read by others, or the
    /// passphrase is missing or wrong.
    pub fn open_with(home: &Path, options: &OpenOptions) -> Result<Self, ClientError> {
        if !home.join(DATABASE_FILE).is_file() {
            return Err(StoreError::NoHome.into());
        }
        // First the key, which the database may be encrypted under.
        let root = unlock_device_root(home, system_keystore(), options.passphrase.as_ref())?;
        let store = Store::open_with(home, Some(&root.derive_database()))?;
        if store.reads().meta(META_RECOVERING)?.is_some() {
            return Err(ClientError::home(
                "a recovery was begun here and is not finished: run `lifeos recover` again with the same words",
            ));
        }
        let client = Self::assemble(home, store, root)?;
        client.project_beside()?;
        Ok(client)
    }

    fn assemble(home: &Path, store: Store, root: DeviceRoot) -> Result<Self, ClientError> {
        let space = store.reads().spaces()?.into_iter().find(|space| space.home);
        let space = space.ok_or_else(|| ClientError::home("the home holds no space: restore it from a backup"))?;
        let keys = root.derive_space(&store.genesis_random(&space.space)?);
        if keys.sign_pk() != space.device {
            return Err(ClientError::home(
                "device.key belongs to another home: put the right one back from a backup, or link this device again",
            ));
        }
        let reader = Reader::open_with(home, Some(&root.derive_database()))?;
        let ids = (space.space, space.device);
        let client = Self { shared: Arc::new(Shared::new(home.to_owned(), store, reader, (root, keys), ids, None)?) };
        // What could not be taken in may be by now: another version, another process' keys. It must not keep a home shut.
        if let Err(error) = client.shared.retry_quarantined() {
            tracing::warn!(%error, "what waits in quarantine was not tried again");
        }
        Ok(client)
    }

    /// Uses this relay, and no other (`#key` pins its key). With a key that is known it is the same relay at another address:
    /// what was learned of its log stays.
    /// # Errors
    /// [`ClientError`].
    pub fn set_relay(&self, url: &str) -> Result<(), ClientError> {
        let url: RelayUrl = url.parse()?;
        let mut store = self.shared.store();
        let known = store.relays(&self.space())?;
        let id = store.put_relay(&self.space(), url.address(), url.key().as_ref())?;
        let is_new = known.iter().all(|known| known.id != id);
        let same = known.iter().find(|known| is_new && known.key.is_some() && known.key == url.key());
        if let Some(same) = same {
            store.inherit_relay(id, same.id)?;
        }
        for other in store.relays(&self.space())?.into_iter().filter(|other| other.id != id) {
            store.remove_relay(other.id)?;
        }
        drop(store);
        self.note_first_relay()
    }

    /// Uses this relay, too (`#key` pins its key): the next sync gives it everything that is held here. False if it was
    /// used already.
    /// # Errors
    /// [`ClientError`].
    pub fn add_relay(&self, url: &str) -> Result<bool, ClientError> {
        let url: RelayUrl = url.parse()?;
        let mut store = self.shared.store();
        let before = store.relays(&self.space())?;
        store.put_relay(&self.space(), url.address(), url.key().as_ref())?;
        drop(store);
        if before.is_empty() {
            self.note_first_relay()?;
        }
        Ok(!before.iter().any(|known| known.url == url.address()))
    }

    /// Uses this relay no more. What it holds stays there, unreadable as before.
    /// # Errors
    /// [`ClientError::NotFound`] when it is not used, and when no other holds all that was sent to it
    /// [`ClientError::Invalid`], unless `even_if_last`.
    pub fn remove_relay(&self, url: &str, even_if_last: bool) -> Result<(), ClientError> {
        let url: RelayUrl = url.parse()?;
        let mut store = self.shared.store();
        let relays = store.relays(&self.space())?;
        let gone = relays
            .iter()
            .find(|known| known.url == url.address())
            .ok_or_else(|| ClientError::not_found("relay of this space at that address: see `lifeos relay list`"))?;
        let others = || relays.iter().filter(|known| known.id != gone.id);
        if !even_if_last
            && !others().any(|other| other.own_acked_seq >= gone.own_acked_seq && other.synced_ms.is_some())
        {
            return Err(ClientError::invalid(
                "no other relay of this space holds all that this device sent to that one: add one with \
                 `lifeos relay add URL` and sync first, or say --force",
            ));
        }
        store.remove_relay(gone.id)?;
        drop(store);
        self.note_first_relay()
    }

    /// The person's other devices, and a recovery, look for a shared space at its first relay.
    fn note_first_relay(&self) -> Result<(), ClientError> {
        let Some(relay) = self.relay_addresses()?.into_iter().next().filter(|_| !self.is_home().unwrap_or(true)) else {
            return Ok(());
        };
        let (home, space) = (self.home_client()?, self.space());
        home.edit(&space_doc(&home.space()), SPACE_GENESIS, Step::None, |doc| Ok(note_relay(doc, &space, &relay)?))
    }
}
