//! A document's first change, written and read as bytes without building the document.
//!
//! ```text
//! chunk = 85 6f 4a 83 ‖ first 4 bytes of the hash ‖ 1 ‖ LEB128 length ‖ body     hash = SHA-256(1 ‖ length ‖ body)
//! body  = deps ‖ actor ‖ seq ‖ first operation ‖ time ‖ message ‖ other actors ‖ columns {spec, length} ‖ column data
//! ```
//! Only what a new document needs can be written: the change follows its genesis, is its actor's first, replaces
//! nothing. Inserting characters costs next to nothing here (a run a column), where Automerge pays for every one.

use automerge::{ChangeHash, ScalarValue};

use super::columns::{
    Bools, Cell, Cursor, DeltaReader, Deltas, RunReader, Runs, push_prefixed, push_signed, push_unsigned,
};
use super::{GenesisId, LocalChange};
use crate::crypto;
use crate::registry;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const TYPE_CHANGE: u8 = 1;
/// Bytes of magic, checksum and type.
const HEAD_BYTES: usize = 9;

const MAKE_MAP: u64 = 0;
const SET: u64 = 1;
const MARK: u64 = 7;

const NULL: u64 = 0;
const FALSE: u64 = 1;
const TRUE: u64 = 2;
const STRING: u64 = 6;
const BYTES: u64 = 7;
const TIMESTAMP: u64 = 9;

/// Specifications of the columns: number << 4 | type.
mod spec {
    pub(super) const OBJ_ACTOR: u64 = 0x01;
    pub(super) const OBJ_CTR: u64 = 0x02;
    pub(super) const KEY_ACTOR: u64 = 0x11;
    pub(super) const KEY_CTR: u64 = 0x13;
    pub(super) const KEY_STR: u64 = 0x15;
    pub(super) const INSERT: u64 = 0x34;
    pub(super) const ACTION: u64 = 0x42;
    pub(super) const VALUE_META: u64 = 0x56;
    pub(super) const VALUE: u64 = 0x57;
    pub(super) const PRED: u64 = 0x70;
    pub(super) const EXPAND: u64 = 0x94;
    pub(super) const MARK_NAME: u64 = 0xa5;
}

/// What an operation writes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    /// The document itself.
    Root,
    /// An object of the genesis, by its operation's number.
    Genesis(u64),
    /// An object that this change made.
    Own(u64),
}

/// The element that something is inserted behind: its operation's number in this change, or the beginning.
pub(crate) type After = Option<u64>;

/// Collects the operations of a change.
#[derive(Debug)]
pub(crate) struct FirstChange<'a> {
    genesis: GenesisId,
    start_op: u64,
    ops: u64,
    names_genesis: bool,
    obj_actor: Runs<u64>,
    obj_ctr: Runs<u64>,
    key_actor: Runs<u64>,
    key_ctr: Deltas,
    key_str: Runs<&'a str>,
    insert: Bools,
    action: Runs<u64>,
    value_meta: Runs<u64>,
    value: Vec<u8>,
    expand: Bools,
    mark_name: Runs<&'a str>,
}

/// Place of this change's actor among those the change names.
const OWN_ACTOR: u64 = 0;
/// Place of the genesis' actor.
const GENESIS_ACTOR: u64 = 1;

impl<'a> FirstChange<'a> {
    /// Begins a change that follows a genesis of `genesis_ops` operations.
    pub(crate) fn new(genesis: GenesisId, genesis_ops: u64) -> Self {
        Self {
            genesis,
            start_op: genesis_ops + 1,
            ops: 0,
            names_genesis: false,
            obj_actor: Runs::default(),
            obj_ctr: Runs::default(),
            key_actor: Runs::default(),
            key_ctr: Deltas::default(),
            key_str: Runs::default(),
            insert: Bools::default(),
            action: Runs::default(),
            value_meta: Runs::default(),
            value: Vec::new(),
            expand: Bools::default(),
            mark_name: Runs::default(),
        }
    }

    /// Number of the next operation.
    pub(crate) const fn next_op(&self) -> u64 {
        self.start_op + self.ops
    }

    fn object(&mut self, object: Object, count: u64) {
        let (actor, ctr) = match object {
            Object::Root => (None, None),
            Object::Genesis(ctr) => {
                self.names_genesis = true;
                (Some(GENESIS_ACTOR), Some(ctr))
            }
            Object::Own(ctr) => (Some(OWN_ACTOR), Some(ctr)),
        };
        self.obj_actor.push(actor, count);
        self.obj_ctr.push(ctr, count);
    }

    fn behind(&mut self, after: After) {
        self.key_actor.push(after.map(|_| OWN_ACTOR), 1);
        self.key_ctr.push(Some(after.map_or(0, |op| i64::try_from(op).unwrap_or(i64::MAX))));
        self.key_str.push(None, 1);
    }

    fn rest(&mut self, insert: bool, action: u64, mark: (bool, Option<&'a str>), count: u64) {
        self.insert.push(insert, count);
        self.action.push(Some(action), count);
        self.expand.push(mark.0, count);
        self.mark_name.push(mark.1, count);
        self.ops += count;
    }

    /// Sets a key of a map. `None` for a kind of value that is not written here.
    pub(crate) fn set(&mut self, object: Object, key: &'a str, value: &ScalarValue) -> Option<()> {
        self.push_value(value)?;
        self.object(object, 1);
        self.key_actor.push(None, 1);
        self.key_ctr.push(None);
        self.key_str.push(Some(key), 1);
        self.rest(false, SET, (false, None), 1);
        Some(())
    }

    /// Sets a key of a map to a text.
    pub(crate) fn set_text(&mut self, object: Object, key: &'a str, value: &str) {
        self.push_bytes(STRING, value.as_bytes());
        self.object(object, 1);
        self.key_actor.push(None, 1);
        self.key_ctr.push(None);
        self.key_str.push(Some(key), 1);
        self.rest(false, SET, (false, None), 1);
    }

    /// Inserts characters one behind the other; returns the last one's number, or `after` when there are none.
    pub(crate) fn characters(&mut self, text: Object, after: After, characters: impl Iterator<Item = char>) -> After {
        let (first, mut count) = (self.next_op(), 0_u64);
        let mut buffer = [0; 4];
        for character in characters {
            self.push_bytes(STRING, character.encode_utf8(&mut buffer).as_bytes());
            count += 1;
        }
        if count == 0 {
            return after;
        }
        self.object(text, count);
        self.behind(after);
        self.key_actor.push(Some(OWN_ACTOR), count - 1);
        self.key_ctr.push_ascending(i64::try_from(first).unwrap_or(i64::MAX), count - 1);
        self.key_str.push(None, count - 1);
        self.rest(true, SET, (false, None), count);
        Some(first + count - 1)
    }

    /// Inserts a block marker; returns its number, which also names the map it is.
    pub(crate) fn block(&mut self, text: Object, after: After) -> u64 {
        let number = self.next_op();
        self.value_meta.push(Some(NULL), 1);
        self.object(text, 1);
        self.behind(after);
        self.rest(true, MAKE_MAP, (false, None), 1);
        number
    }

    /// Marks what lies between two elements: from behind `start` to behind `end`, growing at its end if `grows`.
    pub(crate) fn mark(&mut self, text: Object, (start, end): (After, After), name: &'a str, value: &str, grows: bool) {
        self.push_bytes(STRING, value.as_bytes());
        self.object(text, 2);
        self.behind(start);
        self.rest(true, MARK, (false, Some(name)), 1);
        self.value_meta.push(Some(NULL), 1);
        self.behind(end);
        self.rest(true, MARK, (grows, None), 1);
    }

    fn push_bytes(&mut self, kind: u64, bytes: &[u8]) {
        self.value_meta.push(Some((bytes.len() as u64) << 4 | kind), 1);
        self.value.extend_from_slice(bytes);
    }

    fn push_value(&mut self, value: &ScalarValue) -> Option<()> {
        match value {
            ScalarValue::Str(text) => self.push_bytes(STRING, text.as_bytes()),
            ScalarValue::Bytes(bytes) => self.push_bytes(BYTES, bytes),
            ScalarValue::Boolean(value) => self.value_meta.push(Some(if *value { TRUE } else { FALSE }), 1),
            ScalarValue::Timestamp(ms) => {
                let mut bytes = Vec::with_capacity(10);
                push_signed(&mut bytes, *ms);
                self.push_bytes(TIMESTAMP, &bytes);
            }
            _ => return None,
        }
        Some(())
    }

    /// The change. `None` for an unknown genesis.
    pub(crate) fn finish(self, actor: &[u8], time_ms: i64) -> Option<LocalChange> {
        let genesis = registry::genesis(self.genesis)?;
        let mut pred = Runs::<u64>::default();
        pred.push(Some(0), self.ops);
        let (expand, any_expands) = self.expand.finish();
        let columns = [
            (spec::OBJ_ACTOR, self.obj_actor.finish()),
            (spec::OBJ_CTR, self.obj_ctr.finish()),
            (spec::KEY_ACTOR, self.key_actor.finish()),
            (spec::KEY_CTR, self.key_ctr.finish()),
            (spec::KEY_STR, self.key_str.finish()),
            (spec::INSERT, self.insert.finish().0),
            (spec::ACTION, self.action.finish()),
            (spec::VALUE_META, self.value_meta.finish()),
            (spec::VALUE, self.value),
            (spec::PRED, pred.finish()),
            (spec::EXPAND, if any_expands { expand } else { Vec::new() }),
            (spec::MARK_NAME, self.mark_name.finish()),
        ];
        let data: usize = columns.iter().map(|(_, data)| data.len()).sum();
        let mut body = Vec::with_capacity(128 + data);
        body.push(1);
        body.extend_from_slice(&genesis.hash().0);
        push_prefixed(&mut body, actor);
        body.push(1);
        push_unsigned(&mut body, self.start_op);
        push_signed(&mut body, time_ms);
        push_prefixed(&mut body, &[]);
        push_unsigned(&mut body, u64::from(self.names_genesis));
        if self.names_genesis {
            push_prefixed(&mut body, registry::GENESIS_ACTOR);
        }
        let written = columns.iter().filter(|(_, data)| !data.is_empty());
        push_unsigned(&mut body, written.clone().count() as u64);
        for (spec, data) in written.clone() {
            push_unsigned(&mut body, *spec);
            push_unsigned(&mut body, data.len() as u64);
        }
        written.for_each(|(_, data)| body.extend_from_slice(data));
        Some(chunk(&body))
    }
}

/// Puts the head before a body.
fn chunk(body: &[u8]) -> LocalChange {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 5 + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.push(TYPE_CHANGE);
    push_prefixed(&mut bytes, body);
    let hash = crypto::sha256_plain(&[&bytes[HEAD_BYTES - 1..]]);
    bytes[4..8].copy_from_slice(&hash[..4]);
    LocalChange { hash: ChangeHash(hash), bytes }
}

/// One operation as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op<'a> {
    /// The object's number and the place of its actor.
    pub(crate) object: Option<(u64, u64)>,
    /// Of a map.
    pub(crate) key: Option<&'a str>,
    /// Of a sequence: the number of the element before; 0 at the beginning.
    pub(crate) after: Option<u64>,
    /// What is done.
    pub(crate) action: Action,
    /// What is written.
    pub(crate) value: Value<'a>,
    /// Of the beginning of a mark.
    pub(crate) mark: Option<&'a str>,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Makes a map.
    MakeMap,
    /// Sets or inserts a value.
    Set,
    /// Begins or ends a mark.
    Mark,
}

/// A value as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    Boolean(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    Timestamp(i64),
}

impl Value<'_> {
    /// As Automerge has it.
    pub(crate) fn to_scalar(self) -> ScalarValue {
        match self {
            Self::Null => ScalarValue::Null,
            Self::Boolean(value) => ScalarValue::Boolean(value),
            Self::Text(text) => ScalarValue::Str(text.into()),
            Self::Bytes(bytes) => ScalarValue::Bytes(bytes.to_vec()),
            Self::Timestamp(ms) => ScalarValue::Timestamp(ms),
        }
    }
}

/// Reads the operations of a change that [`FirstChange`] may have written. Whether it did is for the caller to find
/// out: by writing what was read and comparing the bytes.
#[derive(Debug)]
pub(crate) struct OpReader<'a> {
    /// Whose change it is.
    pub(crate) actor: &'a [u8],
    /// Its time.
    pub(crate) time_ms: i64,
    obj_actor: RunReader<'a, u64>,
    obj_ctr: RunReader<'a, u64>,
    key_ctr: DeltaReader<'a>,
    key_str: RunReader<'a, &'a str>,
    action: RunReader<'a, u64>,
    value_meta: RunReader<'a, u64>,
    value: Cursor<'a>,
    mark_name: RunReader<'a, &'a str>,
}

impl<'a> OpReader<'a> {
    /// Reads what stands in front of the operations; `None` for a change that was not written here.
    pub(crate) fn new(chunk: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(chunk);
        (cursor.take(4)? == MAGIC).then_some(())?;
        cursor.take(4)?;
        (cursor.take(1)? == [TYPE_CHANGE]).then_some(())?;
        let mut body = Cursor(cursor.prefixed()?);
        (cursor.0.is_empty() && body.unsigned()? == 1).then_some(())?;
        body.take(32)?;
        let actor = body.prefixed()?;
        (body.unsigned()? == 1).then_some(())?;
        body.unsigned()?;
        let time_ms = body.signed()?;
        body.prefixed()?;
        for _ in 0..body.unsigned().filter(|actors| *actors <= 1)? {
            body.prefixed()?;
        }
        let columns = Columns::read(body)?;
        Some(Self {
            actor,
            time_ms,
            obj_actor: columns.runs(spec::OBJ_ACTOR),
            obj_ctr: columns.runs(spec::OBJ_CTR),
            key_ctr: DeltaReader::new(columns.data(spec::KEY_CTR)),
            key_str: columns.runs(spec::KEY_STR),
            action: columns.runs(spec::ACTION),
            value_meta: columns.runs(spec::VALUE_META),
            value: Cursor(columns.data(spec::VALUE)),
            mark_name: columns.runs(spec::MARK_NAME),
        })
    }

    /// The next operation: `Some(None)` at the end, `None` for what was not written here.
    pub(crate) fn next(&mut self) -> Option<Option<Op<'a>>> {
        if self.action.is_over() {
            return Some(None);
        }
        let action = match self.action.next()?? {
            MAKE_MAP => Action::MakeMap,
            SET => Action::Set,
            MARK => Action::Mark,
            _ => return None,
        };
        let object = match (self.obj_ctr.next()?, self.obj_actor.next()?) {
            (Some(ctr), Some(actor)) => Some((ctr, actor)),
            (None, None) => None,
            _ => return None,
        };
        let after = self.key_ctr.next()?.map(u64::try_from).transpose().ok()?;
        let (key, mark) = (self.key_str.next()?, self.mark_name.next()?);
        Some(Some(Op { object, key, after, action, value: self.value()?, mark }))
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let meta = self.value_meta.next()??;
        let bytes = self.value.take(usize::try_from(meta >> 4).ok()?)?;
        Some(match meta & 15 {
            NULL => Value::Null,
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            STRING => Value::Text(std::str::from_utf8(bytes).ok()?),
            BYTES => Value::Bytes(bytes),
            TIMESTAMP => Value::Timestamp(Cursor(bytes).signed()?),
            _ => return None,
        })
    }
}

/// Whether a change writes nothing but the document's own map, so that everything below it is as before. False also
/// when that cannot be told.
#[cfg(any(feature = "io", test))]
pub(crate) fn writes_root_only(chunk: &[u8]) -> bool {
    specs(chunk).is_some_and(|specs| !specs.iter().any(|spec| matches!(*spec, spec::OBJ_ACTOR | spec::OBJ_CTR)))
}

/// What a change writes into the document's own map.
#[cfg(any(feature = "io", test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RootWrite<'a> {
    /// The key.
    pub(crate) key: &'a str,
    /// A value is set or counted up; else something is deleted, or an object made.
    pub(crate) is_value: bool,
}

#[cfg(any(feature = "io", test))]
const INCREMENT: u64 = 5;

/// Every write of a change into the document's own map; `None` for bytes that are no uncompressed change.
#[cfg(any(feature = "io", test))]
pub(crate) fn root_writes(chunk: &[u8]) -> Option<Vec<RootWrite<'_>>> {
    let columns = Columns::read(behind_head(chunk)?)?;
    let mut objects = columns.runs::<u64>(spec::OBJ_CTR);
    let (mut keys, mut actions) = (columns.runs::<&str>(spec::KEY_STR), columns.runs::<u64>(spec::ACTION));
    let mut writes = Vec::new();
    while !actions.is_over() {
        let (object, key, action) = (objects.next()?, keys.next()?, actions.next()??);
        if let (None, Some(key)) = (object, key) {
            writes.push(RootWrite { key, is_value: matches!(action, SET | INCREMENT) });
        }
    }
    Some(writes)
}

/// The columns' table and data of any change.
#[cfg(any(feature = "io", test))]
fn behind_head(chunk: &[u8]) -> Option<Cursor<'_>> {
    let mut cursor = Cursor(chunk.get(HEAD_BYTES - 1..)?);
    (cursor.take(1)? == [TYPE_CHANGE]).then_some(())?;
    let mut body = Cursor(cursor.prefixed()?);
    let deps = body.unsigned()?;
    body.take(usize::try_from(deps.checked_mul(32)?).ok()?)?;
    body.prefixed()?;
    body.unsigned()?;
    body.unsigned()?;
    body.signed()?;
    body.prefixed()?;
    for _ in 0..body.unsigned()? {
        body.prefixed()?;
    }
    Some(body)
}

/// The columns of any change. A column that would hold nothing but nulls is not there.
#[cfg(any(feature = "io", test))]
fn specs(chunk: &[u8]) -> Option<Vec<u64>> {
    let mut body = behind_head(chunk)?;
    let columns = body.unsigned().filter(|columns| *columns <= COLUMNS_MAX)?;
    (0..columns).map(|_| body.unsigned().and_then(|spec| body.unsigned().map(|_| spec))).collect()
}

/// Where each column lies.
struct Columns<'a>(Vec<(u64, &'a [u8])>);

/// A first change has twelve columns at most, any other change three more (of what it replaces).
const COLUMNS_MAX: u64 = 15;

impl<'a> Columns<'a> {
    fn read(mut body: Cursor<'a>) -> Option<Self> {
        let count = body.unsigned().filter(|count| *count <= COLUMNS_MAX)?;
        let lengths: Option<Vec<(u64, usize)>> =
            (0..count).map(|_| Some((body.unsigned()?, usize::try_from(body.unsigned()?).ok()?))).collect();
        let columns: Option<Vec<_>> =
            lengths?.into_iter().map(|(spec, length)| Some((spec, body.take(length)?))).collect();
        body.0.is_empty().then_some(Self(columns?))
    }

    fn data(&self, spec: u64) -> &'a [u8] {
        self.0.iter().find(|(other, _)| *other == spec).map_or(&[], |(_, data)| data)
    }

    fn runs<T: Cell<'a>>(&self, spec: u64) -> RunReader<'a, T> {
        RunReader::new(self.data(spec))
    }
}
