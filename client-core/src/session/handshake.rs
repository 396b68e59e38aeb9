//! HELLO → CHALLENGE → AUTH → WELCOME: both sides prove their keys over one transcript (protocol §8.1).

use lifeos_sync_protocol::frame::{FEATURE_LOG_STATEMENT, Frame, PeerLimits, PeerRole};
use lifeos_sync_protocol::handshake::{
    PROTO_MAX, PROTO_MIN, auth_message, list_message, transcript_hash, verify, welcome_message,
};
use lifeos_sync_protocol::ids::{SignPk, Signature, SpaceId};
use lifeos_sync_protocol::limits;

use super::{Asked, Output, Phase, Session, SessionError};

/// The first half: HELLO is sent, CHALLENGE is awaited. Linking uses it alone, without AUTH.
#[derive(Debug)]
pub struct Handshake {
    hello: Vec<u8>,
}

/// CHALLENGE has arrived and the relay's key is the pinned one (or none is pinned yet).
#[derive(Debug)]
pub struct Challenged {
    /// The key the relay claims; proven only by WELCOME.
    pub relay_key: SignPk,
    features: u64,
    /// What the relay enforces.
    pub limits: PeerLimits,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    transcript: [u8; 32],
}

impl Handshake {
    /// Begins with 32 fresh random bytes.
    #[must_use]
    pub fn new(nonce: [u8; 32]) -> Self {
        let hello =
            Frame::Hello { proto_min: PROTO_MIN, proto_max: PROTO_MAX, role: PeerRole::Client, nonce, features: 0 };
        Self { hello: hello.encode(0) }
    }

    /// The first frame to send.
    #[must_use]
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// Takes the answer to HELLO from the relay at `address`.
    ///
    /// # Errors
    /// [`SessionError::WrongRelayKey`] when the key is not the pinned one; [`SessionError::WrongOrigin`] when none
    /// is pinned and the relay calls itself by another address; [`SessionError`] for any other frame.
    pub fn challenge(self, bytes: &[u8], pinned: Option<&SignPk>, address: &str) -> Result<Challenged, SessionError> {
        let (_, frame) = Frame::decode(bytes)?;
        self.challenge_frame(&frame, bytes, pinned, address)
    }

    fn challenge_frame(
        self,
        frame: &Frame,
        bytes: &[u8],
        pinned: Option<&SignPk>,
        address: &str,
    ) -> Result<Challenged, SessionError> {
        let (relay_key, origin, features, limits) = match frame {
            Frame::Challenge { peer_pk, origin, features, limits, .. } => (*peer_pk, origin, *features, *limits),
            Frame::Error { code, retry_after_ms, .. } => {
                return Err(SessionError::Refused { code: *code, retry_after_ms: *retry_after_ms });
            }
            _ => return Err(SessionError::Misbehaved("a frame before CHALLENGE")),
        };
        if let Some(pinned) = pinned.filter(|pinned| **pinned != relay_key) {
            return Err(SessionError::WrongRelayKey { pinned: *pinned, presented: relay_key });
        }
        if pinned.is_none() && !is_same_origin(address, origin) {
            return Err(SessionError::WrongOrigin);
        }
        Ok(Challenged {
            relay_key,
            features,
            limits,
            hello: self.hello,
            challenge: bytes.to_vec(),
            transcript: [0; 32],
        })
    }
}

impl Challenged {
    /// Fixes the transcript for one space and device and gives what the device signs.
    fn auth_message(&mut self, space: &SpaceId, device: &SignPk) -> Vec<u8> {
        self.transcript = transcript_hash(&self.hello, &self.challenge, space, device);
        auth_message(&self.transcript)
    }

    /// What a device signs to ask which spaces it belongs to.
    #[must_use]
    pub fn list_message(&self, device: &SignPk) -> Vec<u8> {
        list_message(&transcript_hash(&self.hello, &self.challenge, &SpaceId::ZERO, device))
    }

    fn check_welcome(&self, signature: &Signature) -> Result<(), SessionError> {
        verify(&self.relay_key, &welcome_message(&self.transcript), signature).map_err(|_| SessionError::RelaySignature)
    }
}

impl Session {
    pub(super) fn handle_challenge(
        &mut self,
        handshake: Handshake,
        frame: &Frame,
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        let mut challenged = handshake.challenge_frame(frame, bytes, self.relay_key.as_ref(), &self.relay_address)?;
        self.peer = within_own_limits(challenged.limits)?;
        self.objects.note_features(challenged.features);
        self.wakeup.note_features(challenged.features);
        if challenged.features & FEATURE_LOG_STATEMENT == 0 {
            self.statement = Asked::Done; // it makes none
        }
        let message = challenged.auth_message(&self.space, &self.device);
        self.phase = Phase::Signing(challenged);
        self.outputs.push_back(Output::Sign { message });
        Ok(())
    }

    pub(super) fn handle_signed(&mut self, signature: Signature) {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Signing(challenged) => {
                self.phase = Phase::Proving(challenged);
                let auth = Frame::Auth { space: self.space, device: self.device, signature };
                self.ask(&auth);
            }
            phase => self.phase = phase,
        }
    }

    pub(super) fn handle_welcome(
        &mut self,
        challenged: &Challenged,
        number: u32,
        known: bool,
        signature: &Signature,
    ) -> Result<(), SessionError> {
        challenged.check_welcome(signature)?;
        // A key is worth remembering only now that its holder has signed with it.
        if self.relay_key.replace(challenged.relay_key).is_none() {
            self.outputs.push_back(Output::PinRelay(challenged.relay_key));
        }
        self.number = number;
        if known {
            self.open();
        } else {
            self.phase = Phase::Seeding;
            self.seed_records();
        }
        Ok(())
    }

    pub(super) fn open(&mut self) {
        self.phase = Phase::Opening;
        let open =
            Frame::Open { session: self.number, rec_heads: self.rec_heads.clone(), cursor: self.pull.stored_cursor() };
        self.ask(&open);
        // Opening counts as part of the handshake; from here on each request has its own deadline.
        self.started_ms = self.now_ms;
    }
}

/// Whether two addresses name the same scheme, host and port. Without a pinned key this is what keeps a relay from
/// passing another relay's CHALLENGE on, and the answer to it: the origin is part of what AUTH signs.
fn is_same_origin(dialled: &str, claimed: &str) -> bool {
    let origin = origin_of(dialled);
    origin.is_some() && origin == origin_of(claimed)
}

fn origin_of(address: &str) -> Option<(bool, String, u16)> {
    let address = address.to_ascii_lowercase();
    let (scheme, rest) = address.split_once("://")?;
    let is_tls = match scheme {
        "wss" => true,
        "ws" => false,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
    // The colons of an IPv6 address stand inside brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, if is_tls { 443 } else { 80 }),
    };
    Some((is_tls, host.to_owned(), port))
}

/// The peer's limits, never above our own; a peer that allows nothing is refused.
fn within_own_limits(peer: PeerLimits) -> Result<PeerLimits, SessionError> {
    let smallest = u32::try_from(limits::DELTA_CT_BYTES_MAX).unwrap_or(u32::MAX);
    if peer.push_window == 0 || peer.frame_envelopes_max == 0 || peer.frame_bytes_max < smallest {
        return Err(SessionError::Misbehaved("limits that allow nothing"));
    }
    Ok(PeerLimits {
        frame_bytes_max: peer.frame_bytes_max.min(limits::FRAME_BYTES_MAX as u32),
        push_window: peer.push_window.min(limits::PUSH_WINDOW_MAX as u16),
        frame_envelopes_max: peer.frame_envelopes_max.min(limits::FRAME_ENVELOPES_MAX as u16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (one, other) in [
            ("ws://127.0.0.1:4600", "ws://127.0.0.1:4600/"),
            ("wss://Relay.example/my/path", "wss://relay.example:443"),
            ("ws://[::1]", "ws://[::1]:80/sync"),
        ] {
            assert!(is_same_origin(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("ws://127.0.0.1:4600", "ws://127.0.0.1:4601"),
            ("ws://relay.example", "wss://relay.example"),
            ("wss://relay.example", "wss://relay.example.evil"),
            ("wss://relay.example", ""),
            ("wss://relay.example", "relay.example"),
            ("ws://[::1]:80", "ws://[::2]:80"),
        ] {
            assert!(!is_same_origin(one, other), "{one} {other}");
        }
    }
}
