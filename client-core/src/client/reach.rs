//! Who has a note: what every other device has confirmed of it, and what the relays hold of this device's edits.

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::record::DeviceKind;

use super::{Client, ClientError, NoteDevice, NoteReceipts, NoteRelay};
use crate::store::{Confirmation, Reach};

impl Client {
    /// Who has the newest edits of a note, by what devices have signed: never more than they confirmed.
    /// # Errors
    /// [`ClientError`]; [`ClientError::NotFound`] without such a note.
    pub fn note_receipts(&self, id: &str) -> Result<NoteReceipts, ClientError> {
        self.follow_records()?;
        let (doc, space, names, state) = (self.note_id(id)?, self.space(), self.names()?, self.shared.state());
        let reader = self.shared.reader();
        let reads = reader.reads();
        let relays = reads.relays(&space)?;
        let others = state.membership.devices.iter().filter(|(key, device)| {
            device.removed_by.is_none() && device.kind != DeviceKind::Recovery && **key != self.device()
        });
        let others: Vec<_> = others.map(|(key, device)| (*key, device.member)).collect();
        let keys: Vec<SignPk> = others.iter().map(|(key, _)| *key).collect();
        let records = (&state.membership, &state.keyring);
        let reach = reads.note_reach(&space, &doc, records, (&keys, &relays))?;
        let own = reach.written_by(&self.device());
        let heard: BTreeMap<SignPk, Confirmation> =
            reads.confirmations(&space)?.into_iter().map(|said| (said.device, said)).collect();
        let device = |(key, member): &_| {
            let (of, said) = (reach.of(key), heard.get(key));
            NoteDevice {
                device: key.to_string(),
                name: names.device(key),
                person: names.member(member),
                reach: reach_name(of).to_owned(),
                text: reach_text(of, said),
                heard_ms: said.map(|said| said.heard_ms),
            }
        };
        Ok(NoteReceipts {
            note: doc.to_string(),
            title: reads.note(&space, &doc)?.map(|note| note.title).unwrap_or_default(),
            changes_pending: reach.pending,
            devices: others.iter().map(device).collect(),
            relays: relays
                .into_iter()
                .map(|relay| {
                    let mut has = reach.pending == 0;
                    for (stream, seq) in &own {
                        has &= *seq <= reads.own_held_by(&space, &relay, stream)?;
                    }
                    Ok(NoteRelay { has, url: relay.url })
                })
                .collect::<Result<_, ClientError>>()?,
        })
    }
}

const fn reach_name(reach: Reach) -> &'static str {
    match reach {
        Reach::Has => "has",
        Reach::NotConfirmed => "not_confirmed",
        Reach::NotKnown => "not_known",
    }
}

/// What a device has, and what to do if that is not all.
fn reach_text(reach: Reach, said: Option<&Confirmation>) -> String {
    let text = match (reach, said) {
        (_, None) => "has said nothing yet: sync it, then this device",
        (Reach::Has, Some(_)) => "has it",
        (Reach::NotConfirmed, Some(_)) => {
            "has not confirmed the newest edits yet: sync this device, then that one, then this one"
        }
        (Reach::NotKnown, Some(_)) => {
            "not known: it has not confirmed what a checkpoint stands for here: sync it, then this device"
        }
    };
    let aside = said.map_or(0, |said| said.set_aside);
    if aside == 0 {
        return text.to_owned();
    }
    format!(
        "{text}; it has set {aside} envelopes of this space aside, which may be of this note: look at its `lifeos status`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_about_a_note_says_what_is_known_and_what_to_do() {
        let said = |set_aside| Confirmation {
            device: SignPk([1; 32]),
            said_ms: None,
            heard_ms: 1,
            complete_ms: None,
            unconfirmed_own: 0,
            unconfirmed: 0,
            set_aside,
        };
        assert_eq!(reach_text(Reach::Has, Some(&said(0))), "has it");
        for reach in [Reach::NotConfirmed, Reach::NotKnown] {
            assert!(reach_text(reach, Some(&said(0))).contains("sync"), "{reach:?}");
        }
        assert!(reach_text(Reach::Has, None).starts_with("has said nothing"), "silence is no receipt");
        assert!(reach_text(Reach::Has, Some(&said(2))).contains("set 2 envelopes of this space aside"));
    }
}
