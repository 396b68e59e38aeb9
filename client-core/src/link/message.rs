//! The three messages of a link: layout, bounded codecs, padding.
//!
//! ```text
//! offer, keys = version 1 ‖ kind ‖ HPKE enc(32) ‖ ciphertext     grant = version 1 ‖ kind ‖ ciphertext
//! plaintext   = u32 length ‖ CBOR ‖ zeros up to a multiple of 512
//! Offer {1: relay key, 2: one-time key, 3: [[space, member, genesis random] …]}
//! Keys  {1: device name, 2: [[sign key, HPKE key, proof] …]}      in the order of the offer
//! Grant {1: person, 2: [relay …], 3: [[space, DeviceAdd id, head] …]}
//! ```
//! Both ways of linking carry the same three plaintexts; without a camera the one-time key is the agreement key.

use lifeos_sync_protocol::ids::{HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId};
use lifeos_sync_protocol::limits::RDV_MESSAGE_BYTES_MAX;
use zeroize::Zeroizing;

use super::{LINK_SPACES_MAX, LinkError, OfferedSpace};
use crate::cbor::{CborError, Reader, Writer};

const VERSION: u8 = 1;
const PAD_BYTES: usize = 512;
/// Most relay addresses in a grant, and their greatest length.
pub(super) const RELAYS_MAX: usize = 8;
const RELAY_BYTES_MAX: usize = 512;
/// Longest name of a person in a grant.
pub(super) const PERSON_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Offer = 0,
    Keys = 1,
    Grant = 2,
    SasCommit = 3,
    SasShare = 4,
    SasReveal = 5,
    SasOffer = 6,
    SasKeys = 7,
    SasGrant = 8,
}

impl From<CborError> for LinkError {
    fn from(_: CborError) -> Self {
        Self::Message
    }
}

/// Version and kind in front of the parts; the whole stays under the mailbox's limit.
pub(super) fn frame(kind: Kind, parts: &[&[u8]]) -> Result<Vec<u8>, LinkError> {
    let mut out = vec![VERSION, kind as u8];
    parts.iter().for_each(|part| out.extend_from_slice(part));
    if out.len() > RDV_MESSAGE_BYTES_MAX { Err(LinkError::TooLarge) } else { Ok(out) }
}

/// The parts of a message with an encapsulated key.
pub(super) fn split_hpke(kind: Kind, message: &[u8]) -> Result<(&[u8; 32], &[u8]), LinkError> {
    body(kind, message)?.split_first_chunk::<32>().ok_or(LinkError::Message)
}

pub(super) fn body(kind: Kind, message: &[u8]) -> Result<&[u8], LinkError> {
    if message.len() > RDV_MESSAGE_BYTES_MAX {
        return Err(LinkError::Message);
    }
    match message {
        [VERSION, found, body @ ..] if *found == kind as u8 => Ok(body),
        _ => Err(LinkError::Message),
    }
}

fn pad(cbor: &[u8]) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let length = u32::try_from(cbor.len()).map_err(|_| LinkError::TooLarge)?;
    let padded = (4 + cbor.len()).next_multiple_of(PAD_BYTES);
    let mut out = Zeroizing::new(Vec::with_capacity(padded + crate::crypto::TAG_BYTES));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(cbor);
    out.resize(padded, 0);
    Ok(out)
}

fn unpad(plaintext: &[u8]) -> Result<&[u8], LinkError> {
    let (length, rest) = plaintext.split_first_chunk::<4>().ok_or(LinkError::Message)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| LinkError::Message)?;
    let (cbor, padding) = rest.split_at_checked(length).ok_or(LinkError::Message)?;
    if padding.len() >= PAD_BYTES || padding.iter().any(|byte| *byte != 0) {
        return Err(LinkError::Message);
    }
    Ok(cbor)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) relay_pk: SignPk,
    pub(super) one_time_pk: HpkePk,
    pub(super) spaces: Vec<OfferedSpace>,
}

impl Offer {
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, LinkError> {
        let mut writer = Writer::default();
        writer.map(3).uint(1).bytes(&self.relay_pk.0).uint(2).bytes(&self.one_time_pk.0);
        writer.uint(3).array(self.spaces.len());
        for offered in &self.spaces {
            writer.array(3).bytes(&offered.space.0).bytes(&offered.member.0).bytes(&offered.genesis_random);
        }
        pad(&writer.finish())
    }

    pub(super) fn decode(plaintext: &[u8]) -> Result<Self, LinkError> {
        let (mut relay_pk, mut one_time_pk, mut spaces) = (None, None, Vec::new());
        read(plaintext, |reader, key| {
            match key {
                1 => relay_pk = Some(SignPk(reader.array_of()?)),
                2 => one_time_pk = Some(HpkePk(reader.array_of()?)),
                3 => {
                    spaces = triples(reader, |reader| {
                        Ok(OfferedSpace {
                            space: SpaceId(reader.array_of()?),
                            member: MemberId(reader.array_of()?),
                            genesis_random: reader.array_of()?,
                        })
                    })?;
                }
                _ => drop(reader.skip()?),
            }
            Ok(())
        })?;
        let (Some(relay_pk), Some(one_time_pk)) = (relay_pk, one_time_pk) else { return Err(LinkError::Message) };
        Ok(Self { relay_pk, one_time_pk, spaces })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) name: String,
    pub(super) entries: Vec<(SignPk, HpkePk, Signature)>,
}

impl Keys {
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, LinkError> {
        let mut writer = Writer::default();
        writer.map(2).uint(1).text(&self.name).uint(2).array(self.entries.len());
        for (sign_pk, hpke_pk, proof) in &self.entries {
            writer.array(3).bytes(&sign_pk.0).bytes(&hpke_pk.0).bytes(&proof.0);
        }
        pad(&writer.finish())
    }

    pub(super) fn decode(plaintext: &[u8]) -> Result<Self, LinkError> {
        let (mut name, mut entries) = (None, Vec::new());
        read(plaintext, |reader, key| {
            match key {
                1 => name = Some(reader.text()?.to_owned()),
                2 => {
                    entries = triples(reader, |reader| {
                        let (sign, hpke) = (SignPk(reader.array_of()?), HpkePk(reader.array_of()?));
                        Ok((sign, hpke, Signature(reader.array_of()?)))
                    })?;
                }
                _ => drop(reader.skip()?),
            }
            Ok(())
        })?;
        Ok(Self { name: name.ok_or(LinkError::Message)?, entries })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) person: String,
    pub(super) relays: Vec<String>,
    /// Space, its DeviceAdd record, and the newest record that goes with it.
    pub(super) spaces: Vec<(SpaceId, RecordId, RecordId)>,
}

impl Grant {
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, LinkError> {
        let mut writer = Writer::default();
        writer.map(3).uint(1).text(&self.person).uint(2).array(self.relays.len());
        for relay in &self.relays {
            writer.text(relay);
        }
        writer.uint(3).array(self.spaces.len());
        for (space, device_add, head) in &self.spaces {
            writer.array(3).bytes(&space.0).bytes(&device_add.0).bytes(&head.0);
        }
        pad(&writer.finish())
    }

    pub(super) fn decode(plaintext: &[u8]) -> Result<Self, LinkError> {
        let (mut person, mut relays, mut spaces) = (None, Vec::new(), Vec::new());
        read(plaintext, |reader, key| {
            match key {
                1 => person = Some(reader.text()?.to_owned()),
                2 => {
                    let count = reader.array(RELAYS_MAX)?;
                    relays = (0..count).map(|_| relay(reader)).collect::<Result<_, _>>()?;
                }
                3 => {
                    spaces = triples(reader, |reader| {
                        let space = SpaceId(reader.array_of()?);
                        Ok((space, RecordId(reader.array_of()?), RecordId(reader.array_of()?)))
                    })?;
                }
                _ => drop(reader.skip()?),
            }
            Ok(())
        })?;
        let person = person.filter(|person| person.len() <= PERSON_BYTES_MAX).ok_or(LinkError::Message)?;
        Ok(Self { person, relays, spaces })
    }
}

fn relay(reader: &mut Reader<'_>) -> Result<String, LinkError> {
    let relay = reader.text()?;
    if relay.len() > RELAY_BYTES_MAX { Err(LinkError::Message) } else { Ok(relay.to_owned()) }
}

/// Reads the one map of a padded plaintext.
fn read(plaintext: &[u8], entry: impl FnMut(&mut Reader<'_>, u64) -> Result<(), LinkError>) -> Result<(), LinkError> {
    let mut reader = Reader::new(unpad(plaintext)?);
    let mut entry = entry;
    reader.map(|reader, key| entry(reader, key))?;
    Ok(reader.end()?)
}

/// Reads a list of lists of three.
fn triples<T>(
    reader: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, CborError>,
) -> Result<Vec<T>, LinkError> {
    let count = reader.array(LINK_SPACES_MAX)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        if reader.array(3)? != 3 {
            return Err(LinkError::Message);
        }
        items.push(item(reader)?);
    }
    Ok(items)
}
