//! What whoever runs the relay decides: where it stores, where it listens, who may create spaces.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::limits::WAKEUP_TOKEN_BYTES_MIN;
use lifeos_sync_protocol::wakeup::{Endpoint, WakeupTarget};
use serde::Deserialize;

use crate::clock::Clock;
use crate::limits::Limits;
use crate::wake::{is_inside, is_public};

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

/// A PostgreSQL server in place of the folder's database. Several relays with the same `relay.key` may use it at once.
#[derive(Clone, PartialEq, Eq)]
pub struct Database {
    url: String,
    authority: Option<PathBuf>,
}

impl Database {
    /// As `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. To a host that is not this one only over TLS, unless the address
    /// says `?sslmode=disable`. `authority` is a PEM file with the certificates of who signed the server's; without it they are
    /// the authorities of the web.
    #[must_use]
    pub fn new(url: impl Into<String>, authority: Option<PathBuf>) -> Self {
        Self { url: url.into(), authority }
    }

    /// Holds a password.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn authority(&self) -> Option<&Path> {
        self.authority.as_deref()
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("authority", &self.authority).finish_non_exhaustive()
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
    /// How devices may be woken that are not connected; nothing: they are not.
    pub wakeups: Option<WakeupRules>,
    /// Where it stores if not in the folder; needs the feature `postgres`.
    pub database: Option<Database>,
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
            wakeups: None,
            database: None,
        }
    }

    /// Takes the settings of a JSON file over the present ones:
    /// `{"origin": "wss://…", "founders": ["<key hex>", …], "limits": {"connections_max": 100}}`, all optional;
    /// `"tokens": ["<text>", …]` takes the place of founders. `"wakeups": {"hosts": ["push.example", "ntfy.lan:8080"],
    /// "http": false, "private": false}` has devices woken by a POST to these hosts; `["any"]` is any public one.
    /// `"database": {"url": "postgres://…", "authority": "ca.pem"}` stores at a PostgreSQL server.
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
        if let Some(wakeups) = file.wakeups {
            let rules = WakeupRules::new(&wakeups.hosts, wakeups.http, wakeups.private);
            self.wakeups = Some(rules.map_err(|wrong| ConfigError::Wakeups { path: path.to_owned(), wrong })?);
        }
        if let Some(DatabaseFile { url, authority }) = file.database {
            self.database = Some(Database::new(url, authority));
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
    wakeups: Option<WakeupsFile>,
    database: Option<DatabaseFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseFile {
    url: String,
    authority: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WakeupsFile {
    hosts: Vec<String>,
    #[serde(default)]
    http: bool,
    #[serde(default)]
    private: bool,
}

/// Where a relay may be sent to wake devices: an address comes from whoever registers it, so nothing is allowed that is
/// not said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeupRules {
    /// Hosts and ports; nothing: any public host, at the port of its scheme.
    hosts: Option<BTreeSet<(String, Option<u16>)>>,
    http: bool,
    private: bool,
}

/// Rules that would not do what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WakeupRulesError {
    /// Nothing would be allowed.
    #[error("no host for wake-ups is named: name the push services that devices use, or \"any\" for any public one")]
    NoHost,
    /// Not a host.
    #[error("a host for wake-ups is written HOST or HOST:PORT, without https:// and without a path")]
    Host,
    /// Any host, inside the network too.
    #[error("\"any\" host cannot go with addresses inside the network: name the hosts that may be there")]
    AnyPrivate,
}

impl WakeupRules {
    /// Hosts by name, each at the port of its scheme unless one is named (`ntfy.lan:8080`); `any` alone is any public one.
    /// `http` allows requests that are not encrypted, `private` addresses inside the relay's own network (never
    /// link-local ones).
    ///
    /// # Errors
    /// [`WakeupRulesError`].
    pub fn new(hosts: &[String], http: bool, private: bool) -> Result<Self, WakeupRulesError> {
        if hosts.iter().any(|host| host == "any") {
            return match (hosts.len(), private) {
                (1, false) => Ok(Self { hosts: None, http, private }),
                (_, true) => Err(WakeupRulesError::AnyPrivate),
                _ => Err(WakeupRulesError::Host),
            };
        }
        let host = |host: &String| {
            let target = WakeupTarget::new(format!("https://{host}"), "0".repeat(WAKEUP_TOKEN_BYTES_MIN)).ok()?;
            let at = target.endpoint().ok().filter(|at| at.path.is_empty())?;
            let is_named = host.ends_with(&format!(":{}", at.port));
            Some((at.host.to_ascii_lowercase(), is_named.then_some(at.port)))
        };
        let hosts = hosts.iter().map(host).collect::<Option<BTreeSet<_>>>().ok_or(WakeupRulesError::Host)?;
        if hosts.is_empty() { Err(WakeupRulesError::NoHost) } else { Ok(Self { hosts: Some(hosts), http, private }) }
    }

    /// Whether a device may ask for this.
    pub(crate) fn allows(&self, at: &Endpoint<'_>) -> bool {
        let usual = if at.is_tls { 443 } else { 80 };
        let is_listed = |hosts: &BTreeSet<(String, Option<u16>)>| {
            let host = at.host.to_ascii_lowercase();
            hosts.contains(&(host.clone(), Some(at.port))) || (at.port == usual && hosts.contains(&(host, None)))
        };
        (at.is_tls || self.http) && self.hosts.as_ref().map_or(at.port == usual, is_listed)
    }

    /// Whether a host that is allowed may have this address.
    pub(crate) fn allows_address(&self, address: IpAddr) -> bool {
        is_public(address) || (self.private && is_inside(address))
    }
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
    /// The rules for wake-ups.
    #[error("\"wakeups\" in {path}: {wrong}", path = path.display())]
    Wakeups {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        wrong: WakeupRulesError,
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

    #[test]
    fn only_hosts_and_ports_that_are_named_are_asked_and_http_only_where_it_is_allowed() {
        let allows = |hosts: &[&str], http: bool, url: &str| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            let target = WakeupTarget::new(url, "0123456789abcdef").unwrap();
            WakeupRules::new(&hosts, http, false).unwrap().allows(&target.endpoint().unwrap())
        };
        let named = ["push.example", "ntfy.lan:8080"];
        assert!(allows(&named, false, "https://push.example/a") && allows(&named, false, "https://PUSH.example:443"));
        assert!(allows(&named, false, "https://ntfy.lan:8080/a") && allows(&named, true, "http://ntfy.lan:8080/a"));
        assert!(allows(&named, true, "http://push.example/a"));
        for url in
            ["https://push.example:8080/", "https://ntfy.lan/", "https://a.push.example/", "https://push.example.evil/"]
        {
            assert!(!allows(&named, true, url), "{url}");
        }
        assert!(!allows(&named, false, "http://push.example/"), "not encrypted");
        assert!(
            allows(&["any"], false, "https://whatever.example/") && !allows(&["any"], false, "https://x.example:22/")
        );
        assert!(!allows(&["any"], false, "http://whatever.example/"));
    }

    #[test]
    fn rules_for_wake_ups_that_would_not_do_what_they_say_are_refused() {
        let refused = |text: &str| match merged(text) {
            Err(ConfigError::Wakeups { wrong, .. }) => wrong,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(r#"{"wakeups": {"hosts": []}}"#), WakeupRulesError::NoHost);
        assert_eq!(refused(r#"{"wakeups": {"hosts": ["any"], "private": true}}"#), WakeupRulesError::AnyPrivate);
        for host in ["https://push.example", "push.example/path", "push.example:x", "", "any\", \"push.example"] {
            assert_eq!(
                refused(&format!(r#"{{"wakeups": {{"hosts": ["{host}"]}}}}"#)),
                WakeupRulesError::Host,
                "{host}"
            );
        }
        let rules = merged(r#"{"wakeups": {"hosts": ["push.example"]}}"#).unwrap().wakeups.unwrap();
        assert!(rules.allows_address([1, 1, 1, 1].into()) && !rules.allows_address([10, 0, 0, 1].into()));
        let inside = merged(r#"{"wakeups": {"hosts": ["push.example"], "private": true}}"#).unwrap().wakeups.unwrap();
        assert!(inside.allows_address([10, 0, 0, 1].into()) && !inside.allows_address([169, 254, 169, 254].into()));
    }
}
