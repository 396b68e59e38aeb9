//! The address of a device nearby, as it prints it: `lifeos+peer://IP:PORT#KEY`. No name that would have to be looked up,
//! and never without the key that has to answer.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use lifeos_sync_protocol::ids::SignPk;

use super::{RelayUrl, RelayUrlError};

/// What such an address begins with: nobody takes it for a relay's.
const SCHEME: &str = "lifeos+peer://";

/// Where a device nearby listens, and the key of its temporary relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    at: SocketAddr,
    key: SignPk,
}

/// The text is no address of a device nearby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerAddressError {
    /// Neither the scheme nor an IP address and a port.
    #[error(
        "the address of a device nearby looks like lifeos+peer://192.168.1.20:40123#KEY: copy it whole from where `lifeos sync --listen` prints it"
    )]
    Address,
    /// Nothing, or no key, follows `#`.
    #[error(
        "the address of a device nearby ends with # and a key of 64 hex characters: copy it whole, as `lifeos sync --listen` prints it"
    )]
    Key,
}

impl PeerAddress {
    /// A device that listens there with this key.
    #[must_use]
    pub const fn new(at: SocketAddr, key: SignPk) -> Self {
        Self { at, key }
    }

    /// Where it listens.
    #[must_use]
    pub const fn at(&self) -> SocketAddr {
        self.at
    }

    /// The key that has to answer there.
    #[must_use]
    pub const fn key(&self) -> SignPk {
        self.key
    }

    /// The address without the key, as it is stored while the sync lasts.
    #[must_use]
    pub fn stored(&self) -> String {
        format!("{SCHEME}{}", self.at)
    }
}

/// What to dial for an address as it is stored: a relay's as it is, of a device nearby where its relay listens.
///
/// # Errors
/// [`RelayUrlError`].
pub(crate) fn dialled(stored: &str) -> Result<RelayUrl, RelayUrlError> {
    stored.strip_prefix(SCHEME).map_or_else(|| stored.parse(), |at| format!("ws://{at}").parse())
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or(PeerAddressError::Address)?;
        let (at, key) = rest.split_once('#').ok_or(PeerAddressError::Key)?;
        let at: SocketAddr = at.trim_end_matches('/').parse().map_err(|_| PeerAddressError::Address)?;
        if at.ip().is_unspecified() || at.port() == 0 {
            return Err(PeerAddressError::Address);
        }
        Ok(Self { at, key: key.parse().map_err(|_| PeerAddressError::Key)? })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.stored(), self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_device_nearby_is_read_as_it_is_written() {
        let key = "ab".repeat(32);
        for at in ["192.168.1.20:40123", "[fd00::7]:40123"] {
            let peer: PeerAddress = format!(" lifeos+peer://{at}#{key}\n").parse().unwrap();
            assert_eq!((peer.at().to_string(), peer.key()), (at.to_owned(), SignPk([0xab; 32])));
            assert_eq!(peer.to_string(), format!("lifeos+peer://{at}#{key}"));
            assert_eq!(dialled(&peer.stored()).unwrap().endpoint(), format!("ws://{at}/sync"));
        }
        assert_eq!(dialled("wss://relay.example").unwrap().endpoint(), "wss://relay.example/sync");
    }

    #[test]
    fn an_address_without_its_key_or_with_a_name_to_look_up_is_none() {
        let key = "ab".repeat(32);
        for bad in ["", "ws://10.0.0.1:1", "10.0.0.1:1", "lifeos+peer://laptop.local:1#", "lifeos+peer://0.0.0.0:1#"] {
            let with_key = if bad.ends_with('#') { format!("{bad}{key}") } else { bad.to_owned() };
            assert_eq!(with_key.parse::<PeerAddress>(), Err(PeerAddressError::Address), "{bad}");
        }
        let no_port = format!("lifeos+peer://10.0.0.1:0#{key}");
        assert_eq!(no_port.parse::<PeerAddress>(), Err(PeerAddressError::Address));
        for bad in ["lifeos+peer://10.0.0.1:1", "lifeos+peer://10.0.0.1:1#", "lifeos+peer://10.0.0.1:1#abcd"] {
            assert_eq!(bad.parse::<PeerAddress>(), Err(PeerAddressError::Key), "{bad}");
        }
    }
}
