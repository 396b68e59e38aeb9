//! What members tell each other about relays, inside sealed envelopes, so that a relay that shows different logs
//! to different devices is caught (protocol §8.4).
//!
//! ```text
//! app   { 1: [[relay_pk(32), LOG_STATEMENT frame] …] }        at most 4; unknown keys are passed over
//! ```
//!
//! A statement is signed by the relay, so whoever carries it cannot invent it. Two statements about one place of one
//! log with different hashes are a proof for anybody; one that differs from what this device saw is an alarm.

use lifeos_sync_protocol::frame::Frame;
use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{Roll, SignPk, SpaceId};
use lifeos_sync_protocol::log::Statement;

use crate::cbor::{CborError, Reader, Writer};
use crate::envelope::StreamTip;

/// Most statements in one envelope.
pub const STATEMENTS_MAX: usize = 4;

/// The rolling hashes of consecutive places of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rolls {
    /// The place (a cursor's position) of the first.
    pub first: u64,
    /// One for each place.
    pub rolls: Vec<Roll>,
}

impl Rolls {
    /// Adds the hash at a place; a gap begins anew.
    pub fn push(&mut self, pos: u64, roll: Roll) {
        if self.first.checked_add(self.rolls.len() as u64) != Some(pos) {
            *self = Self { first: pos, rolls: Vec::new() };
        }
        self.rolls.push(roll);
    }

    /// The hash at a place.
    #[must_use]
    pub fn at(&self, pos: u64) -> Option<Roll> {
        let index = usize::try_from(pos.checked_sub(self.first)?).ok()?;
        self.rolls.get(index).copied()
    }
}

/// A statement as it is kept and passed on: the LOG_STATEMENT frame.
#[must_use]
pub fn statement_bytes(statement: &Statement) -> Vec<u8> {
    let Statement { space, log, rec_heads, time_ms, signature } = statement.clone();
    Frame::LogStatement { space, log, rec_heads, time_ms, signature }.encode(0)
}

/// Reads what [`statement_bytes`] wrote.
#[must_use]
pub fn read_statement(bytes: &[u8]) -> Option<Statement> {
    Statement::from_frame(Frame::decode(bytes).ok()?.1)
}

/// The `app` field of a delta that tells of these statements; nothing to tell is no field.
#[must_use]
pub fn encode_app(statements: &[(SignPk, Vec<u8>)]) -> Vec<u8> {
    if statements.is_empty() {
        return Vec::new();
    }
    let told = &statements[..statements.len().min(STATEMENTS_MAX)];
    let mut writer = Writer::default();
    writer.map(1).uint(1).array(told.len());
    for (relay, statement) in told {
        writer.array(2).bytes(&relay.0).bytes(statement);
    }
    writer.finish()
}

/// The statements in an `app` field that their relays really signed about this space. What is malformed is passed
/// over: the field is advice, and no reason to refuse an edit.
#[must_use]
pub fn decode_app(space: &SpaceId, app: &[u8]) -> Vec<(SignPk, Statement)> {
    let told = if app.is_empty() { Ok(Vec::new()) } else { read_app(app) };
    let said = told.unwrap_or_default().into_iter();
    said.filter(|(relay, said)| said.space == *space && said.verify(relay).is_ok()).collect()
}

fn read_app(app: &[u8]) -> Result<Vec<(SignPk, Statement)>, CborError> {
    let mut told = Vec::new();
    let mut reader = Reader::new(app);
    reader.map(|reader, key| {
        if key != 1 {
            return reader.skip().map(drop);
        }
        for _ in 0..reader.array(STATEMENTS_MAX)? {
            if reader.array(2)? != 2 {
                return Err(CborError);
            }
            let relay = SignPk(reader.array_of()?);
            told.extend(read_statement(reader.bytes()?).map(|statement| (relay, statement)));
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(told)
}

/// Six digits that two people can read to each other: equal when both hold the same records and the same streams
/// up to the same place. SHA-256(ctx("state-code") ‖ space ‖ heads, ascending ‖ (stream ‖ u32 seq ‖ tip)…,
/// ascending) mod 10⁶. Streams without an envelope do not count.
#[must_use]
pub fn state_code(space: &SpaceId, heads: &[impl AsRef<[u8]>], tips: &[StreamTip]) -> String {
    let mut streams: Vec<_> = tips.iter().filter(|tip| tip.seq > 0).collect();
    streams.sort_unstable_by_key(|tip| tip.stream);
    let mut held = Vec::with_capacity(heads.len() * 32 + streams.len() * 52);
    heads.iter().for_each(|head| held.extend_from_slice(head.as_ref()));
    for tip in streams {
        held.extend_from_slice(&tip.stream.0);
        held.extend_from_slice(&tip.seq.to_be_bytes());
        held.extend_from_slice(&tip.id);
    }
    let hash = sha256("state-code", &[&space.0, &held]);
    let number = hash[..8].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("{:06}", number % 1_000_000)
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::frame::Cursor;
    use lifeos_sync_protocol::ids::{LogId, RecordId, Signature, StreamId};
    use lifeos_sync_protocol::log::statement_message;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn relay() -> (SignPk, Ed25519KeyPair) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        (SignPk(pair.public_key().as_ref().try_into().unwrap()), pair)
    }

    fn statement(space: SpaceId, roll: u8) -> Statement {
        let log = Cursor { log_id: LogId([4; 16]), pos: 7, roll: Roll([roll; 16]) };
        let heads = vec![RecordId([5; 32])];
        let signature = relay().1.sign(&statement_message(&space, &log, &heads, 3));
        Statement {
            space,
            log,
            rec_heads: heads,
            time_ms: 3,
            signature: Signature(signature.as_ref().try_into().unwrap()),
        }
    }

    #[test]
    fn a_statement_travels_with_its_relays_key_and_only_what_the_relay_signed_arrives() {
        let (space, key) = (SpaceId([1; 32]), relay().0);
        let said = statement(space, 8);
        let app = encode_app(&[(key, statement_bytes(&said))]);
        assert_eq!(decode_app(&space, &app), vec![(key, said.clone())]);
        assert_eq!(decode_app(&SpaceId([2; 32]), &app), vec![], "another space");
        let mut forged = said;
        forged.log.pos += 1;
        assert_eq!(decode_app(&space, &encode_app(&[(key, statement_bytes(&forged))])), vec![]);
        for length in 0..app.len() {
            assert_eq!(decode_app(&space, &app[..length]), vec![], "cut at {length}");
        }
    }

    #[test]
    fn places_without_a_gap_are_remembered() {
        let mut rolls = Rolls::default();
        rolls.push(5, Roll([5; 16]));
        rolls.push(6, Roll([6; 16]));
        assert_eq!(
            (rolls.at(4), rolls.at(5), rolls.at(6), rolls.at(7)),
            (None, Some(Roll([5; 16])), Some(Roll([6; 16])), None)
        );
        rolls.push(9, Roll([9; 16]));
        assert_eq!((rolls.at(6), rolls.at(9)), (None, Some(Roll([9; 16]))));
    }

    #[test]
    fn a_state_code_tells_different_records_streams_and_places_apart() {
        let tip = |stream: u8, seq, id: u8| StreamTip {
            stream: StreamId([stream; 16]),
            device: SignPk([0; 32]),
            seq,
            id: [id; 32],
        };
        let (space, heads) = (SpaceId([1; 32]), [RecordId([2; 32])]);
        let code = |tips: &[StreamTip]| state_code(&space, &heads, tips);
        let base = code(&[tip(1, 4, 1), tip(2, 5, 2)]);
        assert_eq!(base, code(&[tip(2, 5, 2), tip(1, 4, 1), tip(3, 0, 0)]), "order and empty streams do not matter");
        assert_ne!(base, code(&[tip(1, 4, 1), tip(2, 6, 2)]));
        assert_ne!(base, code(&[tip(1, 4, 1), tip(2, 5, 3)]));
        assert_ne!(base, state_code(&space, &[RecordId([3; 32])], &[tip(1, 4, 1), tip(2, 5, 2)]));
        assert_eq!(base.len(), 6);
    }
}
