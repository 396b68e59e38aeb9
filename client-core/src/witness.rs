//! What members tell each other about relays, inside sealed envelopes, so that a relay that shows different logs
//! or records to different devices is caught (protocol §8.4).
//!
//! ```text
//! app   { 1: [[relay_pk(32), LOG_STATEMENT frame] …]         at most 4
//!         2: [record id(32) …] }                             at most 4; unknown keys are passed over
//! ```
//!
//! A statement is signed by the relay, so whoever carries it cannot invent it. Two statements about one place of one
//! log with different hashes are a proof for anybody; one that differs from what this device saw is an alarm. A
//! record id is the author's own word that the record exists: the newest it holds, told once. A device that was kept
//! from a record of which no new key tells, say of somebody who left, learns so from any edit made since.

use lifeos_sync_protocol::frame::Frame;
use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{RecordId, Roll, SignPk, SpaceId};
use lifeos_sync_protocol::log::Statement;

use crate::cbor::{CborError, Reader, Writer};
use crate::envelope::StreamTip;

/// Most statements in one envelope.
pub const STATEMENTS_MAX: usize = 4;
/// Most record ids in one envelope.
pub const RECORDS_TOLD_MAX: usize = 4;

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

/// What an `app` field says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advice {
    /// Statements, each with the key of the relay that signed it.
    pub statements: Vec<(SignPk, Statement)>,
    /// Records that the author holds.
    pub records: Vec<RecordId>,
}

/// The `app` field of a delta that tells of these statements and records; nothing to tell is no field.
#[must_use]
pub fn encode_app(statements: &[(SignPk, Vec<u8>)], records: &[RecordId]) -> Vec<u8> {
    let statements = &statements[..statements.len().min(STATEMENTS_MAX)];
    let records = &records[..records.len().min(RECORDS_TOLD_MAX)];
    let entries = usize::from(!statements.is_empty()) + usize::from(!records.is_empty());
    if entries == 0 {
        return Vec::new();
    }
    let mut writer = Writer::default();
    writer.map(entries);
    if !statements.is_empty() {
        writer.uint(1).array(statements.len());
        for (relay, statement) in statements {
            writer.array(2).bytes(&relay.0).bytes(statement);
        }
    }
    if !records.is_empty() {
        writer.uint(2).array(records.len());
        for record in records {
            writer.bytes(&record.0);
        }
    }
    writer.finish()
}

/// What an `app` field says: of statements, those that their relays really signed about this space. What is malformed
/// is passed over: the field is advice, and no reason to refuse an edit.
#[must_use]
pub fn decode_app(space: &SpaceId, app: &[u8]) -> Advice {
    let mut advice = if app.is_empty() { Advice::default() } else { read_app(app).unwrap_or_default() };
    advice.statements.retain(|(relay, said)| said.space == *space && said.verify(relay).is_ok());
    advice
}

fn read_app(app: &[u8]) -> Result<Advice, CborError> {
    let mut advice = Advice::default();
    let mut reader = Reader::new(app);
    reader.map(|reader, key| match key {
        1 => read_statements(reader, &mut advice.statements),
        2 => {
            for _ in 0..reader.array(RECORDS_TOLD_MAX)? {
                advice.records.push(RecordId(reader.array_of()?));
            }
            Ok(())
        }
        _ => reader.skip().map(drop),
    })?;
    reader.end()?;
    Ok(advice)
}

fn read_statements(reader: &mut Reader<'_>, told: &mut Vec<(SignPk, Statement)>) -> Result<(), CborError> {
    for _ in 0..reader.array(STATEMENTS_MAX)? {
        if reader.array(2)? != 2 {
            return Err(CborError);
        }
        let relay = SignPk(reader.array_of()?);
        told.extend(read_statement(reader.bytes()?).map(|statement| (relay, statement)));
    }
    Ok(())
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
        let app = encode_app(&[(key, statement_bytes(&said))], &[]);
        let statements = |space: &SpaceId, app: &[u8]| decode_app(space, app).statements;
        assert_eq!(statements(&space, &app), vec![(key, said.clone())]);
        assert_eq!(statements(&SpaceId([2; 32]), &app), vec![], "another space");
        let mut forged = said;
        forged.log.pos += 1;
        assert_eq!(statements(&space, &encode_app(&[(key, statement_bytes(&forged))], &[])), vec![]);
        for length in 0..app.len() {
            assert_eq!(decode_app(&space, &app[..length]), Advice::default(), "cut at {length}");
        }
    }

    #[test]
    fn records_are_told_beside_statements_and_no_more_than_a_few() {
        let (space, key) = (SpaceId([1; 32]), relay().0);
        let said = statement(space, 8);
        let records: Vec<_> = (0..9).map(|byte| RecordId([byte; 32])).collect();
        assert_eq!(encode_app(&[], &[]), Vec::<u8>::new());
        assert_eq!(decode_app(&space, &encode_app(&[], &records[..2])).records, records[..2]);
        let both = decode_app(&space, &encode_app(&[(key, statement_bytes(&said))], &records));
        assert_eq!(both, Advice { statements: vec![(key, said)], records: records[..RECORDS_TOLD_MAX].to_vec() });
        let mut too_many = Writer::default();
        too_many.map(1).uint(2).array(records.len());
        for record in &records {
            too_many.bytes(&record.0);
        }
        assert_eq!(decode_app(&space, &too_many.finish()), Advice::default());
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
