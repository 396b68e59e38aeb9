//! What a device that listens calls itself in its local network: a name that its members know and that is another one every
//! time, and where to dial, sealed for them (protocol, "Being found").
//!
//! ```text
//! name = hex(salt 12 ‖ first 8 of derive(epoch secret, "nearby-name" ‖ space ‖ u32 day ‖ salt))
//! said = seal(derive(epoch secret, "nearby-said" ‖ space ‖ u32 day ‖ salt), aad = name, u16 port ‖ relay key 32)
//! ```

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{SignPk, SpaceId};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, Random, equal_constant_time, open_once, random_bytes, seal_once};
use crate::keys::EpochSecret;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// What makes a name, and the key of what is said under it, used once.
const SALT_BYTES: usize = 12;
/// How much of a name only members can make.
const MARK_BYTES: usize = 8;
/// Characters of a name.
pub const NAME_CHARS: usize = 2 * (SALT_BYTES + MARK_BYTES);
/// Bytes of what is said: port, key, and the seal's tag.
pub const SAID_BYTES: usize = 2 + 32 + 16;

/// What is announced in the local network for one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The name, in hex: random to whoever does not hold the epoch's secret.
    pub name: String,
    /// Where to dial, sealed.
    pub said: Vec<u8>,
}

/// The day (UTC) that a time (ms) belongs to.
#[must_use]
pub fn day_of(now_ms: i64) -> u32 {
    u32::try_from(now_ms.div_euclid(DAY_MS)).unwrap_or(0)
}

/// What to announce for a space on a day.
///
/// # Errors
/// [`CryptoError`] if the cipher fails.
pub fn announce(
    secret: &EpochSecret,
    space: &SpaceId,
    day: u32,
    (port, key): (u16, &SignPk),
    random: &mut dyn Random,
) -> Result<Announced, CryptoError> {
    let salt: [u8; SALT_BYTES] = random_bytes(random);
    let mark = derive(secret, "nearby-name", space, day, &salt);
    let name: String = salt.iter().chain(&mark[..MARK_BYTES]).map(|byte| format!("{byte:02x}")).collect();
    let mut said = [&port.to_be_bytes()[..], key.as_ref()].concat();
    seal_once(&derive(secret, "nearby-said", space, day, &salt), name.as_bytes(), &mut said)?;
    Ok(Announced { name, said })
}

/// Port and key of a device of the space, if that is what was announced: today, or yesterday or tomorrow by a clock that is
/// a little off. Anything else is nothing.
#[must_use]
pub fn recognise(secret: &EpochSecret, space: &SpaceId, today: u32, heard: &Announced) -> Option<(u16, SignPk)> {
    let named = bytes_of(&heard.name)?;
    let (salt, mark) = named.split_first_chunk::<SALT_BYTES>()?;
    let is_of = |day: &u32| equal_constant_time(&derive(secret, "nearby-name", space, *day, salt)[..MARK_BYTES], mark);
    let day = [today, today.saturating_sub(1), today.saturating_add(1)].into_iter().find(is_of)?;
    let mut opened = heard.said.clone();
    open_once(&derive(secret, "nearby-said", space, day, salt), heard.name.as_bytes(), &mut opened).ok()?;
    let (port, key) = opened.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*port), SignPk(key.try_into().ok()?)))
}

/// The bytes of a name, if it is one: lower-case hex of the right length.
fn bytes_of(name: &str) -> Option<[u8; SALT_BYTES + MARK_BYTES]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let (pairs, rest) = name.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| u8::try_from((digit(*high)? << 4) | digit(*low)?).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>().filter(|_| rest.is_empty())?;
    bytes.try_into().ok()
}

fn derive(
    secret: &EpochSecret,
    purpose: &str,
    space: &SpaceId,
    day: u32,
    salt: &[u8; SALT_BYTES],
) -> Zeroizing<[u8; 32]> {
    secret.derive_key(&[&ctx(purpose), space.as_ref(), &day.to_be_bytes(), salt])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::SeededRandom;

    const SPACE: SpaceId = SpaceId([7; 32]);
    const KEY: SignPk = SignPk([9; 32]);

    fn secret(byte: u8) -> EpochSecret {
        EpochSecret::from_bytes([byte; 32])
    }

    fn announced(day: u32, seed: u64) -> Announced {
        announce(&secret(1), &SPACE, day, (4700, &KEY), &mut SeededRandom::new(seed)).unwrap()
    }

    #[test]
    fn a_member_knows_a_device_that_listens_around_midnight_too_and_nobody_else_does() {
        let heard = announced(20_000, 1);
        assert_eq!((heard.name.len(), heard.said.len()), (NAME_CHARS, SAID_BYTES));
        for today in [19_999, 20_000, 20_001] {
            assert_eq!(recognise(&secret(1), &SPACE, today, &heard), Some((4700, KEY)));
        }
        for today in [19_998, 20_002, 0, u32::MAX] {
            assert_eq!(recognise(&secret(1), &SPACE, today, &heard), None, "a name of another time is replayed");
        }
        assert_eq!(recognise(&secret(2), &SPACE, 20_000, &heard), None, "who left before the key was new");
        assert_eq!(recognise(&secret(1), &SpaceId([8; 32]), 20_000, &heard), None);
        let upper = Announced { name: heard.name.to_uppercase(), ..heard.clone() };
        assert_eq!(recognise(&secret(1), &SPACE, 20_000, &upper), None, "one spelling only");
        let exchanged = Announced { said: announced(20_000, 2).said, ..heard };
        assert_eq!(recognise(&secret(1), &SPACE, 20_000, &exchanged), None);
    }

    #[test]
    fn nothing_that_is_announced_comes_twice_or_shows_the_key() {
        let all: Vec<_> = (0..200).map(|seed| announced(u32::try_from(seed % 3).unwrap(), seed)).collect();
        let names: std::collections::BTreeSet<_> = all.iter().map(|one| &one.name).collect();
        let said: std::collections::BTreeSet<_> = all.iter().map(|one| &one.said).collect();
        assert_eq!((names.len(), said.len()), (200, 200));
        assert!(all.iter().all(|one| !one.said.windows(8).any(|part| part == &KEY.0[..8])));
    }

    #[test]
    fn the_day_is_that_of_the_clock() {
        assert_eq!((day_of(0), day_of(DAY_MS - 1), day_of(DAY_MS), day_of(-1)), (0, 0, 1, 0));
    }

    proptest! {
        #[test]
        fn whatever_is_heard_is_what_a_member_said_or_nothing(
            said in proptest::collection::vec(any::<u8>(), 0..100),
            name in "[0-9a-fA-F]{0,44}|\\PC{0,44}",
            bit in 0..SAID_BYTES * 8,
        ) {
            let heard = announced(20_000, 1);
            prop_assert_eq!(recognise(&secret(1), &SPACE, 20_000, &Announced { name, said: heard.said.clone() }), None);
            prop_assert_eq!(recognise(&secret(1), &SPACE, 20_000, &Announced { said, ..heard.clone() }), None);
            let mut spoilt = heard;
            spoilt.said[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(recognise(&secret(1), &SPACE, 20_000, &spoilt), None);
        }
    }
}
