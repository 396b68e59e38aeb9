//! What whoever runs the relay decides: where it stores, where it listens, who may create spaces.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use lifeos_sync_protocol::ids::SignPk;
use serde::Deserialize;

use crate::limits::Limits;

/// Who may create a space here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SpaceCreation {
    /// Every device.
    #[default]
    Open,
    /// Only these devices, by signing key.
    Allowlist(BTreeSet<SignPk>),
}

impl SpaceCreation {
    /// Whether `founder` may create a space.
    #[must_use]
    pub fn allows(&self, founder: &SignPk) -> bool {
        match self {
            Self::Open => true,
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
}

impl Config {
    /// Defaults on a free loopback port, as tests and `lifeos demo` use it.
    #[must_use]
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        Self::new(data_dir, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
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
        }
    }

    /// Takes the settings of a JSON file over the present ones:
    /// `{"origin": "wss://…", "founders": ["<key hex>", …], "limits": {"connections_max": 100}}`, all optional.
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
        assert!(config.creation.allows(&SignPk([0xab; 32])));
        assert!(!config.creation.allows(&SignPk([0xac; 32])));
        assert!(matches!(merged(r#"{"founders": ["xy"]}"#), Err(ConfigError::Founder { .. })));
    }
}
