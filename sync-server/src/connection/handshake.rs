//! Before a session: HELLO and CHALLENGE, AUTH and LIST, mailboxes.
//!
//! Both nonces are fresh per connection and the transcript holds the relay's key, so an AUTH fits one connection
//! to one relay, without clocks and without a list of nonces.

use std::sync::Arc;

use bytes::Bytes;
use lifeos_sync_protocol::frame::{
    ErrorCode, FEATURE_LOG_STATEMENT, FEATURE_OBJECT_PARTS, FEATURE_OBJECTS, FEATURE_WAKEUP, Frame, PeerLimits,
};
use lifeos_sync_protocol::handshake::{
    PROTO_MAX, PROTO_MIN, auth_message, list_message, transcript_hash, verify, welcome_message,
};
use lifeos_sync_protocol::ids::{SignPk, Signature, SpaceId};
use lifeos_sync_protocol::limits::{FRAME_BYTES_MAX, FRAME_ENVELOPES_MAX, FRAME_IDS_MAX, PUSH_WINDOW_MAX};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::session::Session;
use super::{Connection, Refusal};
use crate::limits::ms;
use crate::rendezvous::Refused;
use crate::space::{Found, Space};

/// How far the handshake is.
#[derive(Default)]
pub(super) struct Handshake {
    /// HELLO and CHALLENGE as they went over the wire, once both did.
    exchanged: Option<(Bytes, Bytes)>,
    /// AUTH and LIST frames that were refused.
    failures: usize,
    /// Sessions opened so far; the next one's number is one more.
    sessions: u32,
    jitter: u8,
}

impl Handshake {
    /// HELLO and CHALLENGE have been exchanged.
    pub(super) fn greeted(&self) -> Result<(), Refusal> {
        if self.exchanged.is_some() { Ok(()) } else { Err(TOO_EARLY) }
    }

    /// A byte that differs from connection to connection.
    pub(super) fn jitter(&self) -> u32 {
        self.jitter.into()
    }
}

/// A bucket of a minute has something again after a moment.
const TOO_MANY: Refusal = Refusal {
    code: ErrorCode::Rate,
    fatal: false,
    retry_after_ms: 5_000,
    message: "too many requests from this address; try again later",
};
const TOO_EARLY: Refusal = Refusal::fatal(ErrorCode::Unexpected, "HELLO comes first");

impl Connection {
    pub(super) async fn handshake(&mut self, request: u32, frame: Frame, bytes: Bytes) -> Result<(), Refusal> {
        match frame {
            Frame::Hello { proto_min, proto_max, .. } => self.hello(request, proto_min, proto_max, bytes),
            Frame::Auth { space, device, signature } => self.auth(request, space, device, &signature).await,
            Frame::List { device, signature } => self.list(request, device, &signature).await,
            _ => Err(Refusal::fatal(ErrorCode::Unexpected, "not a frame of the handshake")),
        }
    }

    fn hello(&mut self, request: u32, proto_min: u16, proto_max: u16, hello: Bytes) -> Result<(), Refusal> {
        if self.handshake.exchanged.is_some() {
            return Err(Refusal::fatal(ErrorCode::Unexpected, "HELLO comes once"));
        }
        if proto_min > PROTO_MAX || proto_max < PROTO_MIN {
            return Err(Refusal::fatal(ErrorCode::Version, "no common protocol version; update the older side"));
        }
        let mut nonce = [0; 32];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| Refusal::fatal(ErrorCode::Internal, "a fault inside the relay"))?;
        self.handshake.jitter = nonce[31] ^ hello.last().copied().unwrap_or_default();
        let wakes = self.relay.wakes.as_ref().map_or(0, |_| FEATURE_WAKEUP);
        let challenge = Frame::Challenge {
            peer_pk: self.relay.identity.public(),
            nonce,
            origin: self.relay.origin.clone(),
            features: FEATURE_LOG_STATEMENT | FEATURE_OBJECTS | FEATURE_OBJECT_PARTS | wakes,
            limits: PeerLimits {
                frame_bytes_max: u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX),
                push_window: u16::try_from(PUSH_WINDOW_MAX).unwrap_or(u16::MAX),
                frame_envelopes_max: u16::try_from(FRAME_ENVELOPES_MAX).unwrap_or(u16::MAX),
            },
        };
        let challenge = Bytes::from(challenge.encode(request));
        self.outgoing.reply(challenge.clone());
        // Copied: the frame is a slice of the socket's read buffer and would keep it alive.
        self.handshake.exchanged = Some((Bytes::copy_from_slice(&hello), challenge));
        Ok(())
    }

    fn transcript(&self, space: &SpaceId, device: &SignPk) -> Result<[u8; 32], Refusal> {
        let (hello, challenge) = self.handshake.exchanged.as_ref().ok_or(TOO_EARLY)?;
        Ok(transcript_hash(hello, challenge, space, device))
    }

    /// Counts a refusal; too many end the connection.
    fn failed(&mut self, mut refusal: Refusal) -> Refusal {
        self.relay.metrics.auth_failed_total.increment();
        self.handshake.failures += 1;
        refusal.fatal |= self.handshake.failures >= self.relay.limits.auth_attempts_max
            || !self.relay.auth_failures.try_take(self.peer.address, Instant::now());
        refusal
    }

    async fn auth(
        &mut self,
        request: u32,
        space_id: SpaceId,
        device: SignPk,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        let transcript = self.transcript(&space_id, &device)?;
        if verify(&device, &auth_message(&transcript), signature).is_err() {
            return Err(self.failed(Refusal::mild(ErrorCode::AuthFailed, "the signature of AUTH does not verify")));
        }
        if self.sessions.len() >= self.relay.limits.sessions_per_connection_max {
            return Err(Refusal::mild(ErrorCode::Rate, "too many sessions on one connection"));
        }
        let found = self.relay.spaces.find(space_id, &device).await?;
        if self.relay.store.is_shared()
            && let Found::Here(space) = &found
            && !space.view().membership.may_read(&device)
        {
            // It may have been enrolled at another relay a moment ago.
            let mut set = Arc::clone(&space.records).lock_owned().await;
            let (records, last) = self.relay.store.readers().records_after(space.no, space.seen().record).await?;
            space.take_in(&mut set, records, last)?;
        }
        let space = self.admit(found, &device).map_err(|refusal| self.failed(refusal))?;

        self.handshake.sessions += 1;
        let number = self.handshake.sessions;
        let known = space.is_some();
        self.sessions.insert(number, Session::new(space_id, device, Arc::clone(&self.relay)));
        if let Some(space) = space {
            self.session(number)?.is_guest = !space.view().membership.may_read(&device);
            self.attach(number, space)?;
        }
        self.peer.budget.lift();
        self.deadline = None;
        let signature = self.relay.identity.sign(&welcome_message(&transcript));
        self.reply(request, &Frame::Welcome { session: number, known, signature });
        Ok(())
    }

    /// Whether a device may connect for a space. A space that is not here and one the device is not in answer
    /// alike, unless the device could create the space.
    fn admit(&self, found: Found, device: &SignPk) -> Result<Option<Arc<Space>>, Refusal> {
        let not_member = Refusal::mild(ErrorCode::NotMember, "this device is not enrolled in such a space");
        let gone = Refusal::mild(ErrorCode::Removed, "this device was removed from the space");
        let space = match found {
            Found::Here(space) => space,
            Found::Absent if self.relay.config.creation.allows(device, self.peer.token.as_ref()) => return Ok(None),
            Found::Absent | Found::Closed => return Err(not_member),
            Found::Gone => return Err(gone),
        };
        let view = space.view();
        if view.membership.may_read(device) || view.is_guest(device, self.relay.now_ms()) {
            return Ok(Some(space));
        }
        let removed = view.membership.devices.get(device).is_some_and(|device| device.removed_by.is_some());
        Err(if removed { gone } else { not_member })
    }

    async fn list(&mut self, request: u32, device: SignPk, signature: &Signature) -> Result<(), Refusal> {
        let transcript = self.transcript(&SpaceId::ZERO, &device)?;
        if !self.relay.lists.try_take(self.peer.address, Instant::now()) {
            return Err(TOO_MANY);
        }
        if verify(&device, &list_message(&transcript), signature).is_err() {
            return Err(self.failed(Refusal::mild(ErrorCode::AuthFailed, "the signature of LIST does not verify")));
        }
        let mut spaces = self.relay.store.readers().spaces_of(device).await?;
        spaces.truncate(FRAME_IDS_MAX);
        self.reply(request, &Frame::Spaces { spaces });
        self.extend_deadline();
        Ok(())
    }

    /// A connection that does something useful without AUTH may stay longer, but not for ever: a person may be
    /// typing a code meanwhile.
    fn extend_deadline(&mut self) {
        if self.deadline.is_some() {
            self.deadline = Some(self.started + ms(self.relay.limits.unauthenticated_ms_max));
        }
    }

    pub(super) fn rendezvous(&mut self, request: u32, frame: Frame) -> Result<(), Refusal> {
        self.handshake.greeted()?;
        if !self.relay.mailbox_frames.try_take(self.peer.address, Instant::now()) {
            return Err(TOO_MANY);
        }
        let mailboxes = &self.relay.mailboxes;
        let done = match frame {
            Frame::RdvCreate { rdv, ttl_s } => mailboxes
                .create(rdv, ttl_s, self.peer.address)
                .map(|()| Frame::RdvItem { rdv, index: 0, message: None }),
            Frame::RdvPut { rdv, message } => {
                mailboxes.put(&rdv, message).map(|index| Frame::RdvItem { rdv, index, message: None })
            }
            Frame::RdvDrop { rdv } => mailboxes.remove(&rdv).map(|()| Frame::RdvItem { rdv, index: 0, message: None }),
            Frame::RdvGet { rdv, index } => {
                self.extend_deadline();
                return self.wait_for_message(request, rdv, index);
            }
            _ => return Err(Refusal::fatal(ErrorCode::Unexpected, "not a frame of a mailbox")),
        };
        let answer = done.map_err(mailbox_refusal)?;
        self.reply(request, &answer);
        self.extend_deadline();
        Ok(())
    }

    /// Waits beside the reading half, so that the peer can go on meanwhile.
    fn wait_for_message(
        &mut self,
        request: u32,
        rdv: lifeos_sync_protocol::ids::RdvId,
        index: u32,
    ) -> Result<(), Refusal> {
        while self.waits.try_join_next().is_some() {}
        if self.waits.len() >= self.relay.limits.mailbox_waits_max {
            return Err(Refusal::mild(ErrorCode::Rate, "too many waits for mailbox messages"));
        }
        let relay = Arc::clone(&self.relay);
        let outgoing = Arc::clone(&self.outgoing);
        self.waits.spawn(async move {
            let frame = match relay.mailboxes.get(&rdv, index).await {
                Ok(message) => {
                    let message = Some(message.to_vec());
                    Frame::RdvItem { rdv, index, message }.encode(request).into()
                }
                Err(refused) => mailbox_refusal(refused).frame(request),
            };
            outgoing.reply(frame);
        });
        Ok(())
    }
}

fn mailbox_refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::NoMailbox => Refusal::mild(ErrorCode::NoMailbox, "no such mailbox, or it has expired"),
        Refused::Limit => Refusal::mild(ErrorCode::MailboxRefused, "the mailbox exists, or a limit is reached"),
        Refused::TooLarge => Refusal::mild(ErrorCode::TooLarge, "message is larger than a mailbox takes"),
    }
}
