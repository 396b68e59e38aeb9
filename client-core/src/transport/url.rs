//! A relay's address as people write it: `ws://host:port`, `wss://host`, optionally `#<relay key>`.

use std::fmt;
use std::str::FromStr;

use lifeos_sync_protocol::ids::SignPk;

/// Where the relay answers websocket requests when the address names no path.
const DEFAULT_PATH: &str = "/sync";

/// Longest address.
const URL_BYTES_MAX: usize = 1024;

/// An address and the key that must answer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    address: String,
    key: Option<SignPk>,
}

/// The text is no relay address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayUrlError {
    /// Neither `ws://` nor `wss://`, no host, or characters no address has.
    #[error("a relay's address looks like wss://relay.example or ws://127.0.0.1:4600")]
    Address,
    /// What follows `#` is no key.
    #[error("after # comes the relay's key: 64 hex characters, as the relay prints it")]
    Key,
}

impl RelayUrl {
    /// The address without the key, as it is shown and stored.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address without its query: what others may see. A relay's token lies in the query, and creates spaces.
    #[must_use]
    pub fn without_token(&self) -> &str {
        self.address.split('?').next().unwrap_or_default().trim_end_matches('/')
    }

    /// The key, if the text held one.
    #[must_use]
    pub const fn key(&self) -> Option<SignPk> {
        self.key
    }

    /// The same address with this key to expect there.
    #[must_use]
    pub fn with_key(self, key: SignPk) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The address to connect to: with the relay's path when none is given.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let (address, query) = match self.address.split_once('?') {
            Some((address, query)) => (address, format!("?{query}")),
            None => (self.address.as_str(), String::new()),
        };
        let host = address.split_once("://").map_or("", |(_, rest)| rest);
        match host.split_once('/') {
            Some((_, path)) if !path.is_empty() => self.address.clone(),
            _ => format!("{}{DEFAULT_PATH}{query}", address.trim_end_matches('/')),
        }
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let (address, key) = match text.trim().split_once('#') {
            Some((address, key)) => (address, Some(key.parse().map_err(|_| RelayUrlError::Key)?)),
            None => (text.trim(), None),
        };
        let address = address.trim_end_matches('/');
        let host = address.strip_prefix("wss://").or_else(|| address.strip_prefix("ws://"));
        let clean = address.bytes().all(|byte| byte.is_ascii_graphic()) && address.len() <= URL_BYTES_MAX;
        match host {
            Some(host) if clean && !host.is_empty() && !host.starts_with(['/', ':', '?']) => {
                Ok(Self { address: address.to_owned(), key })
            }
            _ => Err(RelayUrlError::Address),
        }
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        self.key.map_or(Ok(()), |key| write!(f, "#{key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written_with_its_key() {
        let key = "ab".repeat(32);
        let url: RelayUrl = format!("ws://127.0.0.1:4600/#{key}").parse().unwrap();
        assert_eq!(url.address(), "ws://127.0.0.1:4600");
        assert_eq!(url.key(), Some(SignPk([0xab; 32])));
        assert_eq!(url.to_string(), format!("ws://127.0.0.1:4600#{key}"));
        assert_eq!(url.endpoint(), "ws://127.0.0.1:4600/sync");
        let own_path: RelayUrl = "wss://relay.example/my/path".parse().unwrap();
        assert_eq!(own_path.endpoint(), "wss://relay.example/my/path");
    }

    #[test]
    fn a_token_goes_to_the_relay_and_to_nobody_else() {
        for (address, endpoint, shown) in [
            ("wss://a.example?token=0123", "wss://a.example/sync?token=0123", "wss://a.example"),
            ("wss://a.example/?token=0123", "wss://a.example/sync?token=0123", "wss://a.example"),
            ("wss://a.example/own?token=0123", "wss://a.example/own?token=0123", "wss://a.example/own"),
            ("wss://a.example", "wss://a.example/sync", "wss://a.example"),
        ] {
            let url: RelayUrl = address.parse().unwrap();
            assert_eq!((url.endpoint().as_str(), url.without_token()), (endpoint, shown));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "relay.example", "http://relay.example", "ws://", "wss:///x", "ws://a b", "ws://:1"] {
            assert_eq!(bad.parse::<RelayUrl>(), Err(RelayUrlError::Address), "{bad}");
        }
        assert_eq!("ws://a#12".parse::<RelayUrl>(), Err(RelayUrlError::Key));
    }
}
