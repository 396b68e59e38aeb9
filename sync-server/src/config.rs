//! What whoever runs the relay decides: where it stores, where it listens, who may create spaces.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::SignPk;
use serde::Deserialize;

use crate::clock::Clock;
use crate::limits::Limits;

/// How much more than a relay by default takes fits into one that a device fills with what it holds.
const HOME_FACTOR: u64 = 8;

/// Who may create a space here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SpaceCreation {
    /// Every device.
    #[default]
    Open,
    /// Whoever connects with one of these tokens in the address: `wss://relay.example/sync?token=…`.
    Token(BTreeSet<TokenHash>),
    /// Only these devices, by signing key.
    Allowlist(BTreeSet<SignPk>),
}

/// The hash of a token; comparing hashes tells nothing about how much of a token was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of this token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(sha256("token", &[token.as_bytes()]))
    }
}

/// Shortest token; a shorter one could be guessed.
const TOKEN_BYTES_MIN: usize = 16;

impl SpaceCreation {
    /// Whether `founder`, who connected with this token, may create a space.
    #[must_use]
    pub fn allows(&self, founder: &SignPk, token: Option<&TokenHash>) -> bool {
        match self {
            Self::Open => true,
            Self::Token(tokens) => token.is_some_and(|token| tokens.contains(token)),
            Self::Allowlist(keys) => keys.contains(founder),
        }
    }
}

/// Settings of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the database and the relay's key; made if it is not there.
    pub data_dir: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the relay calls itself in CHALLENGE, bound into every handshake: the address that clients dial. One that
    /// has not pinned the relay's key goes on only if the two are equal. Empty: `ws://` and the address listened on.
    pub origin: String,
    /// Who may create spaces.
    pub creation: SpaceCreation,
    /// What the relay spends at most.
    pub limits: Limits,
    /// What it takes for the time of day.
    pub clock: Clock,
}

impl Config {
    /// Defaults on a free loopback port, as tests and `lifeos demo` use it.
    #[must_use]
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        Self::new(data_dir, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// A relay for a while, beside one device, which fills it for others nearby: nobody but that device (by its key in each
    /// space) makes spaces here, and nobody leaves messages. What a home holds has to fit, whatever relay it came from.
    #[must_use]
    pub fn beside_device(data_dir: impl Into<PathBuf>, listen: SocketAddr, keys: BTreeSet<SignPk>) -> Self {
        let usual = Limits::default();
        let limits = Limits {
            space_bytes_max: usual.space_bytes_max * HOME_FACTOR,
            space_envelopes_max: usual.space_envelopes_max * HOME_FACTOR,
            space_objects_max: usual.space_objects_max * HOME_FACTOR,
            member_bytes_max: usual.member_bytes_max * HOME_FACTOR,
            member_envelopes_max: usual.member_envelopes_max * HOME_FACTOR,
            member_objects_max: usual.member_objects_max * HOME_FACTOR,
            spaces_per_address_hour_max: u32::try_from(usual.spaces_max).unwrap_or(u32::MAX),
            mailboxes_max: 0,
            ..usual
        };
        Self { creation: SpaceCreation::Allowlist(keys), limits, ..Self::new(data_dir, listen) }
    }

    /// Defaults.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen,
            origin: String::new(),
            creation: SpaceCreation::default(),
            limits: Limits::default(),
            clock: Clock::system(),
        }
    }

    /// Takes the settings of a JSON file over the present ones:
    /// `{"origin": "wss://…", "founders": ["<key hex>", …], "limits": {"connections_max": 100}}`, all optional;
    /// `"tokens": ["<text>", …]` takes the place of founders.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read, or says something this version does not know.
    pub fn merge_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let file: ConfigFile =
            serde_json::from_str(&text).map_err(|source| ConfigError::Json { path: path.to_owned(), source })?;
        if let Some(origin) = file.origin {
            self.origin = origin;
        }
        if let Some(limits) = file.limits {
            self.limits = limits;
        }
        if file.founders.is_some() && file.tokens.is_some() {
            return Err(ConfigError::Creation { path: path.to_owned() });
        }
        if let Some(tokens) = file.tokens {
            let plain = |token: &String| {
                token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            if !tokens.iter().all(plain) {
                return Err(ConfigError::Token { path: path.to_owned() });
            }
            self.creation = SpaceCreation::Token(tokens.iter().map(|token| TokenHash::of(token)).collect());
        }
        if let Some(founders) = file.founders {
            let keys = founders.iter().map(|key| key.parse()).collect::<Result<_, _>>();
            self.creation = SpaceCreation::Allowlist(keys.map_err(|_| ConfigError::Founder { path: path.to_owned() })?);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    origin: Option<String>,
    founders: Option<Vec<String>>,
    tokens: Option<Vec<String>>,
    limits: Option<Limits>,
}

/// The configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not the JSON this version expects.
    #[error("the configuration {path} is not usable: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Two ways to say who may create a space.
    #[error("{path} has both \"founders\" and \"tokens\"; keep one of them", path = path.display())]
    Creation {
        /// The file.
        path: PathBuf,
    },
    /// A token is short, or would be escaped in an address.
    #[error("a token under \"tokens\" in {path} is not at least 16 letters, digits or -", path = path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// A founder's key is not 64 hex characters.
    #[error("a key under \"founders\" in {path} is not 64 hex characters", path = path.display())]
    Founder {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.json");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::local(dir.path());
        config.merge_file(&path).map(|()| config)
    }

    #[test]
    fn a_file_changes_only_what_it_names() {
        let config = merged(r#"{"origin": "wss://relay.example", "limits": {"connections_max": 7}}"#).unwrap();
        assert_eq!(config.origin, "wss://relay.example");
        assert_eq!(config.limits, Limits { connections_max: 7, ..Limits::default() });
        assert_eq!(config.creation, SpaceCreation::Open);
    }

    #[test]
    fn a_misspelt_setting_is_refused_and_named() {
        let error = merged(r#"{"limits": {"conections_max": 7}}"#).unwrap_err();
        assert!(error.to_string().contains("conections_max"), "{error}");
    }

    #[test]
    fn founders_close_the_door_to_others() {
        let config = merged(&format!(r#"{{"founders": ["{}"]}}"#, "ab".repeat(32))).unwrap();
        assert!(config.creation.allows(&SignPk([0xab; 32]), None));
        assert!(!config.creation.allows(&SignPk([0xac; 32]), None));
        assert!(matches!(merged(r#"{"founders": ["xy"]}"#), Err(ConfigError::Founder { .. })));
    }

    #[test]
    fn a_token_opens_the_door_and_a_weak_one_is_refused() {
        let config = merged(r#"{"tokens": ["0123456789abcdef"]}"#).unwrap();
        let allows = |token: Option<&str>| config.creation.allows(&SignPk([1; 32]), token.map(TokenHash::of).as_ref());
        assert!(allows(Some("0123456789abcdef")));
        assert!(!allows(None) && !allows(Some("0123456789abcdeF")) && !allows(Some("")));
        for weak in ["short", "0123456789abcde%20", ""] {
            assert!(
                matches!(merged(&format!(r#"{{"tokens": ["{weak}"]}}"#)), Err(ConfigError::Token { .. })),
                "{weak}"
            );
        }
        let both = r#"{"tokens": ["0123456789abcdef"], "founders": []}"#;
        assert!(matches!(merged(both), Err(ConfigError::Creation { .. })));
    }
}
