//! Bodies of records to canonical CBOR and back: a map per type with keys ascending from 1, a structure inside
//! a body is an array of its fields. The tables here are the layout; both directions are made from them.

use super::cbor::{Value, put_array, put_key, put_map, read_array, read_key, read_map};
use super::{Body, Cut, DeviceEntry, DeviceKind, Floor, RemoveReason, Role, Seal, Wrap};
use crate::wire::{Reader, Reason};

macro_rules! bodies {
    ($($name:ident = $kind:literal { $($key:literal $field:ident),* $(,)? })*) => {
        impl Body {
            /// The type byte on the wire.
            #[must_use]
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$name { .. } => $kind,)*
                    Self::Unknown { kind, .. } => *kind,
                }
            }
        }

        pub(super) fn encode(body: &Body) -> Vec<u8> {
            let mut out = Vec::new();
            match body {
                $(Body::$name { $($field),* } => {
                    put_map(&mut out, [$($key),*].len());
                    $(put_key(&mut out, $key); $field.put_to(&mut out);)*
                })*
                Body::Unknown { body, .. } => out.extend_from_slice(body),
            }
            out
        }

        pub(super) fn decode(kind: u8, bytes: &[u8]) -> Result<Body, Reason> {
            let mut r = Reader::new(bytes);
            let body = match kind {
                $($kind => {
                    read_map(&mut r, [$($key),*].len())?;
                    $(read_key(&mut r, $key)?; let $field = Value::read_from(&mut r)?;)*
                    Body::$name { $($field),* }
                })*
                _ => return Ok(Body::Unknown { kind, body: bytes.to_vec() }),
            };
            r.finish()?;
            Ok(body)
        }
    };
}

bodies! {
    Genesis = 0x01 { 1 random, 2 member, 3 device, 4 recovery, 5 relays }
    MemberAdd = 0x02 { 1 member, 2 role, 3 enc_meta, 4 devices }
    DeviceAdd = 0x03 { 1 member, 2 device, 3 enc_meta, 4 grants }
    DeviceRemove = 0x04 { 1 device, 2 reason, 3 cuts }
    MemberRemove = 0x05 { 1 member, 2 reason, 3 cuts }
    RoleSet = 0x06 { 1 member, 2 role, 3 cuts }
    Epoch = 0x07 { 1 generation, 2 parents, 3 commit, 4 wraps, 5 seals }
    KeyGrant = 0x08 { 1 epoch, 2 seals }
    HpkeRefresh = 0x09 { 1 hpke_pk }
    Invite = 0x0a { 1 invite_pk, 2 role, 3 expires_ms, 4 uses_max, 5 auto_seal }
    InviteRevoke = 0x0b { 1 invite }
    Join = 0x0c { 1 invite, 2 member, 3 devices, 4 invite_proof, 5 enc_meta }
    Policy = 0x0d { 1 rotation_days, 2 grace_days, 3 endorse_k, 4 relays }
    Checkpoint = 0x20 { 1 previous, 2 cut, 3 chunks, 4 blobs, 5 enc_manifest }
    Endorse = 0x21 { 1 checkpoint }
    Object = 0x22 { 1 checkpoint, 2 reason, 3 stream, 4 seq }
    ForkProof = 0x23 { 1 first, 2 second }
    Close = 0x2f { 1 successor }
}

macro_rules! structures {
    ($($name:ident [$($field:ident),*])*) => {$(
        impl Value for $name {
            fn put_to(&self, out: &mut Vec<u8>) {
                put_array(out, [$(stringify!($field)),*].len());
                $(self.$field.put_to(out);)*
            }

            fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
                read_array(r, [$(stringify!($field)),*].len())?;
                $(let $field = Value::read_from(r)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}

structures! {
    DeviceEntry [sign_pk, hpke_pk, kind, proof]
    Seal [device_ref, enc, ct]
    Wrap [parent, ct]
    Cut [stream, seq, id]
    Floor [stream, seq, id, device, r32]
}

macro_rules! choices {
    ($($name:ident [$($variant:ident),*])*) => {$(
        impl Value for $name {
            fn put_to(&self, out: &mut Vec<u8>) {
                (*self as u8).put_to(out);
            }

            fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
                let byte = u8::read_from(r)?;
                [$(Self::$variant),*].into_iter().find(|choice| *choice as u8 == byte).ok_or("an unknown choice")
            }
        }
    )*};
}

choices! {
    Role [Owner, Admin, Editor, Reader]
    DeviceKind [Normal, Recovery, Archive]
    RemoveReason [Lost, Left, Replaced, Compromised]
}
