//! Objects that come in parts.

use super::vector::{pruned, received};
use super::*;

/// Bytes that the model takes for an object.
pub(super) const OBJECT_BYTES: usize = 300;

pub(super) fn object(fill: u8) -> Vec<u8> {
    vec![fill; OBJECT_BYTES]
}

pub(super) fn object_id(bytes: &[u8]) -> EnvelopeId {
    EnvelopeId(sha256("env-id", &[SPACE.as_ref(), &bytes[..bytes.len() - 64]]))
}

impl Relay {
    pub(super) const fn parts_feature(&self) -> u64 {
        if self.part_bytes > 0 { frame::FEATURE_OBJECT_PARTS } else { 0 }
    }

    pub(super) fn give_rest(&mut self, at: usize, request: u32, object: &EnvelopeId, mut from: usize) {
        let bytes = self.objects.iter().find(|bytes| object_id(bytes) == *object).cloned().unwrap_or_default();
        assert!(self.part_bytes > 0, "nobody asks a relay for what it does not know");
        self.rests.push(from);
        from = from.min(bytes.len());
        loop {
            let end = bytes.len().min(from + self.part_bytes);
            let (total, more) = (bytes.len() as u32, end < bytes.len());
            let part = Frame::Part { session: 5, total, from: from as u32, more, bytes: bytes[from..end].to_vec() };
            self.send(at, request, &part);
            if !more {
                return;
            }
            from = end;
        }
    }
}

impl Device {
    pub(super) fn keep_partial(&mut self, id: EnvelopeId, from: u32, bytes: &[u8]) -> bool {
        match bytes.is_empty() {
            true => drop(self.partial.remove(&id)),
            false => {
                let kept = self.partial.entry(id).or_default();
                assert_eq!(kept.len(), from as usize);
                kept.extend_from_slice(bytes);
            }
        }
        true
    }
}

/// Bytes of parts that wait for a device.
fn bytes_of(frames: &VecDeque<Vec<u8>>) -> usize {
    let part = |bytes: &Vec<u8>| match Frame::decode(bytes).unwrap().1 {
        Frame::Part { bytes, .. } => bytes.len(),
        _ => 0,
    };
    frames.front().map_or(0, part)
}

#[test]
fn who_is_cut_off_inside_an_object_goes_on_behind_what_has_come_wherever_that_is() {
    for frames in 1..60 {
        let (mut relay, mut devices) = pruned();
        relay.part_bytes = 37;
        let (mut fetched, mut cuts) = (0, 0);
        // So many frames of the relay come, then the line breaks; one more each time, for the greetings are most of them.
        for budget in frames.. {
            devices[0].connect(&mut relay);
            let mut left = budget;
            while !devices[0].idle && left > 0 {
                while devices[0].step(&mut relay) {}
                fetched += bytes_of(&relay.connections[0].as_ref().unwrap().out);
                left -= usize::from(devices[0].receive(&mut relay));
            }
            while devices[0].step(&mut relay) {}
            if devices[0].idle {
                break;
            }
            devices[0].drop_connection(&mut relay);
            cuts += 1;
        }
        assert!(devices[0].error().is_none());
        assert_eq!(devices[0].objects.len(), 2);
        let mut all = received(&devices[0]);
        all.dedup();
        assert_eq!(all, (1..=10).collect::<Vec<_>>());
        // The last part of an object is not kept by itself: it goes to the store with the rest.
        assert!(fetched <= 2 * OBJECT_BYTES + cuts * 37, "{fetched} bytes with {cuts} cuts");
    }
}

#[test]
fn what_another_relay_gave_wrongly_is_fetched_anew_and_a_relay_that_gives_wrong_bytes_itself_is_blamed() {
    for (length, is_relay_wrong) in [(150, false), (299, false), (400, false), (150, true), (0, true)] {
        let (mut relay, mut devices) = pruned();
        relay.part_bytes = 100;
        let id = object_id(&object(1));
        if length > 0 {
            devices[0].partial.insert(id, vec![9; length]);
        }
        devices[0].connect(&mut relay);
        for _ in 0..400 {
            while devices[0].step(&mut relay) {}
            let connection = relay.connections[0].as_mut().unwrap();
            if let Some(bytes) = connection.out.front_mut().filter(|_| is_relay_wrong)
                && let (request, Frame::Part { session, total, from, more, bytes: mut part }) =
                    Frame::decode(bytes).unwrap()
                && let Some(byte) = part.first_mut()
            {
                *byte ^= 1;
                *bytes = Frame::Part { session, total, from, more, bytes: part }.encode(request);
            }
            if !devices[0].receive(&mut relay) {
                break;
            }
        }
        let expected = SessionError::Misbehaved("an object nobody asked for");
        assert_eq!(devices[0].error(), is_relay_wrong.then_some(&expected), "{length}");
        assert_eq!(devices[0].objects.len(), if is_relay_wrong { 0 } else { 2 });
        // What was held, then all of it, once; the other object is on its way beside it.
        let anew: Vec<usize> = if length > 0 { vec![length, 0, 0] } else { vec![0, 0] };
        assert_eq!(relay.rests, anew, "{length}");
    }
}

/// Changes size, place, whether more follows, and bytes of a part.
type Spoil = fn(&mut u32, &mut u32, &mut bool, &mut Vec<u8>);

#[test]
fn parts_that_do_not_follow_or_fit_are_the_relays_fault() {
    let spoil: [Spoil; 5] = [
        |_, from, _, _| *from += 1,
        |total, _, _, _| *total = u32::MAX,
        |_, _, more, _| *more = !*more,
        |_, _, more, bytes| {
            bytes.clear();
            *more = true;
        },
        |_, _, _, bytes| bytes.push(1),
    ];
    for (case, spoil) in spoil.into_iter().enumerate() {
        let (mut relay, mut devices) = pruned();
        relay.part_bytes = 300;
        devices[0].connect(&mut relay);
        for _ in 0..400 {
            while devices[0].step(&mut relay) {}
            let connection = relay.connections[0].as_mut().unwrap();
            if let Some(bytes) = connection.out.front_mut()
                && let (request, Frame::Part { session, mut total, mut from, mut more, bytes: mut part }) =
                    Frame::decode(bytes).unwrap()
            {
                spoil(&mut total, &mut from, &mut more, &mut part);
                *bytes = Frame::Part { session, total, from, more, bytes: part }.encode(request);
            }
            if !devices[0].receive(&mut relay) {
                break;
            }
        }
        assert!(matches!(devices[0].error(), Some(SessionError::Misbehaved(_))), "{case}: {:?}", devices[0].error());
        assert!(devices[0].objects.is_empty());
    }
}

#[test]
fn a_relay_that_gives_no_parts_is_asked_for_whole_objects_whatever_is_held_of_them() {
    let (mut relay, mut devices) = pruned();
    devices[0].partial.insert(object_id(&object(1)), vec![1; 150]);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[0].idle && devices[0].error().is_none());
    assert!(relay.rests.is_empty());
    assert_eq!(devices[0].objects.len(), 2);
    assert_eq!(received(&devices[0]), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_relay_that_lost_an_object_in_the_middle_says_so_and_another_way_is_taken() {
    let (mut relay, mut devices) = pruned();
    (relay.part_bytes, relay.first) = (100, 1);
    devices[0].partial.insert(object_id(&object(1)), vec![1; 150]);
    relay.objects.remove(0);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[0].error().is_none());
    assert!(relay.rests.contains(&150));
    let given_up =
        |seen: &Output| matches!(seen, Output::Bootstrap { missing, .. } if *missing == [object_id(&object(1))]);
    assert!(devices[0].seen.iter().any(given_up), "the checkpoint lacks a chunk here");
    assert_eq!(received(&devices[0]), (1..=10).collect::<Vec<_>>(), "the log goes back to its start");
}
