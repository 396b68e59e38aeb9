//! The one thin module over `ring` and `hpke`: hashes, HKDF, Ed25519, ChaCha20-Poly1305, HPKE, and the random
//! source as an argument.
//!
//! Nothing else in this crate names `ring` or `hpke`, so that the primitives can be exchanged in one place.
//! Suite 1: SHA-256, HKDF-SHA-256 (RFC 5869), Ed25519 (RFC 8032), ChaCha20-Poly1305 (RFC 8439), HPKE base mode
//! with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305 (RFC 9180).

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use lifeos_sync_protocol::handshake::check_hpke_key;
use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{HpkePk, SignPk, Signature};
use ring::signature::KeyPair as _;
use ring::{aead, digest, hmac, signature};
use zeroize::{Zeroize, Zeroizing};

type HpkeKem = X25519HkdfSha256;

/// Bytes that the AEAD adds.
pub const TAG_BYTES: usize = aead::MAX_TAG_LEN;

/// A cryptographic step failed. Says nothing more, so that it is no oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic operation failed")]
pub struct CryptoError;

/// Where random bytes come from: the operating system in production, a seed in tests and simulation.
pub trait Random: Send {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A fresh array.
    fn bytes<const N: usize>(&mut self) -> [u8; N]
    where
        Self: Sized,
    {
        random_bytes(self)
    }
}

/// A fresh array from a source that is only known as a trait object.
pub fn random_bytes<const N: usize>(random: &mut dyn Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill(&mut out);
    out
}

/// The operating system's random source.
#[cfg(feature = "io")]
#[derive(Debug, Clone)]
pub struct SystemRandom(ring::rand::SystemRandom);

#[cfg(feature = "io")]
impl SystemRandom {
    /// The source; opens nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

#[cfg(feature = "io")]
impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "io")]
impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        use ring::rand::SecureRandom as _;
        #[cfg(feature = "simulation")]
        if crate::simulation::fill(bytes) {
            return;
        }
        if self.0.fill(bytes).is_err() {
            // Without randomness every key made from here on would be guessable. A panic could be caught and
            // the zeros used; nothing is lost by stopping, because what was acknowledged is on disk.
            std::process::abort();
        }
    }
}

/// Random bytes that a seed determines: `SHA-256(ctx("seeded-random") ‖ seed ‖ u64 counter)`, block after block.
/// For tests, golden vectors and simulation only; never for keys that protect anything.
#[derive(Debug, Clone)]
pub struct SeededRandom {
    seed: [u8; 32],
    counter: u64,
}

impl SeededRandom {
    /// The sequence of a 64-bit seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self { seed: bytes, counter: 0 }
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for block in bytes.chunks_mut(32) {
            let counter = self.counter.to_be_bytes();
            let random = lifeos_sync_protocol::hash::sha256("seeded-random", &[&self.seed, &counter]);
            self.counter = self.counter.wrapping_add(1);
            block.copy_from_slice(&random[..block.len()]);
        }
    }
}

/// SHA-256 of the parts one after the other, without a context: for formats that are not ours.
#[must_use]
pub fn sha256_plain(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| hash.update(part));
    array(hash.finish().as_ref())
}

/// [`sha256_plain`] of what comes piece by piece.
#[derive(Clone)]
pub struct PlainHasher(digest::Context);

impl PlainHasher {
    /// Of nothing so far.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        array(self.0.finish().as_ref())
    }
}

/// A pseudorandom key (HKDF's PRK), ready to be expanded many times.
#[derive(Clone)]
pub struct Prk(hmac::Key);

impl Prk {
    /// HKDF-Extract.
    #[must_use]
    pub fn extract(salt: &[u8], secret: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()))
    }

    /// HKDF-Expand to 32 bytes, which is one block: `HMAC(prk, info ‖ 0x01)`.
    #[must_use]
    pub fn expand(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut mac = hmac::Context::with_key(&self.0);
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[1]);
        Zeroizing::new(array(mac.sign().as_ref()))
    }
}

/// HKDF-SHA-256 with 32 bytes of output (RFC 5869).
#[must_use]
pub fn hkdf_sha256(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    Prk::extract(salt, secret).expand(info)
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}

fn aead_key(key: &[u8; 32]) -> Result<aead::LessSafeKey, CryptoError> {
    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).map_err(|_| CryptoError)?;
    Ok(aead::LessSafeKey::new(key))
}

/// The nonce of a key that is used once. Every key given to [`seal_once`] must be single-use.
fn zero_nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

/// ChaCha20-Poly1305 under a **single-use** key with a zero nonce; `buffer` becomes ciphertext ‖ tag.
///
/// # Errors
/// [`CryptoError`] when the plaintext is longer than the cipher allows.
pub fn seal_once(key: &[u8; 32], aad: &[u8], buffer: &mut Vec<u8>) -> Result<(), CryptoError> {
    aead_key(key)?.seal_in_place_append_tag(zero_nonce(), aead::Aad::from(aad), buffer).map_err(|_| CryptoError)
}

/// Opens what [`seal_once`] sealed; `buffer` becomes the plaintext.
///
/// # Errors
/// [`CryptoError`] when anything does not match; the buffer is then of no use.
pub fn open_once(key: &[u8; 32], aad: &[u8], buffer: &mut Vec<u8>) -> Result<(), CryptoError> {
    let plain = aead_key(key)?.open_in_place(zero_nonce(), aead::Aad::from(aad), buffer).map_err(|_| CryptoError)?;
    let length = plain.len();
    buffer.truncate(length);
    Ok(())
}

/// Bytes of plaintext in every chunk of a [`ChunkKey`]'s stream but the last.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// A single-use key for a long stream of chunks, each under its own nonce: `u88 number ‖ u8 1 if last, else 0`.
/// A chunk that is left out, repeated, moved or cut off does not open in its place (the STREAM construction).
pub struct ChunkKey(aead::LessSafeKey);

impl ChunkKey {
    /// The key must not be used for anything else.
    ///
    /// # Errors
    /// [`CryptoError`] never in practice: the length is right by its type.
    pub fn new(key: &[u8; 32]) -> Result<Self, CryptoError> {
        Ok(Self(aead_key(key)?))
    }

    fn nonce(number: u64, last: bool) -> aead::Nonce {
        let mut nonce = [0; aead::NONCE_LEN];
        nonce[3..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(last);
        aead::Nonce::assume_unique_for_key(nonce)
    }

    /// Seals chunk `number`; `buffer` becomes ciphertext ‖ tag. No number may be used twice.
    ///
    /// # Errors
    /// [`CryptoError`].
    pub fn seal(&self, number: u64, last: bool, buffer: &mut Vec<u8>) -> Result<(), CryptoError> {
        let nonce = Self::nonce(number, last);
        self.0.seal_in_place_append_tag(nonce, aead::Aad::empty(), buffer).map_err(|_| CryptoError)
    }

    /// Opens chunk `number`; `buffer` becomes the plaintext.
    ///
    /// # Errors
    /// [`CryptoError`] when anything does not match.
    pub fn open(&self, number: u64, last: bool, buffer: &mut Vec<u8>) -> Result<(), CryptoError> {
        let nonce = Self::nonce(number, last);
        let length = self.0.open_in_place(nonce, aead::Aad::empty(), buffer).map_err(|_| CryptoError)?.len();
        buffer.truncate(length);
        Ok(())
    }
}

/// An Ed25519 key pair.
pub struct SigningKey {
    pair: signature::Ed25519KeyPair,
    public: SignPk,
}

impl SigningKey {
    /// The pair of a 32-byte seed (RFC 8032).
    #[must_use]
    #[expect(clippy::expect_used, reason = "ring refuses only seeds that are not 32 bytes, which the type rules out")]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = signature::Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed of 32 bytes");
        let public = SignPk(array(pair.public_key().as_ref()));
        Self { pair, public }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> SignPk {
        self.public
    }

    /// Ed25519 signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        Signature(out)
    }
}

/// An X25519 key pair for HPKE.
#[cfg_attr(test, derive(Clone))]
pub struct HpkeKey {
    private: <HpkeKem as Kem>::PrivateKey,
    public: HpkePk,
}

impl HpkeKey {
    /// DeriveKeyPair of RFC 9180 §7.1.3 over 32 bytes of key material.
    #[must_use]
    pub fn derive(material: &[u8; 32]) -> Self {
        let (private, public) = HpkeKem::derive_keypair(material);
        Self { private, public: HpkePk(array(&public.to_bytes())) }
    }

    /// A fresh pair.
    #[must_use]
    pub fn generate(random: &mut dyn Random) -> Self {
        let material = Zeroizing::new(random_bytes::<32>(random));
        Self::derive(&material)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> HpkePk {
        self.public
    }
}

/// A fresh X25519 key pair for one agreement (RFC 7748).
#[cfg_attr(test, derive(Clone))]
pub struct AgreementKey(x25519_dalek::StaticSecret);

impl AgreementKey {
    /// A fresh pair.
    #[must_use]
    pub fn generate(random: &mut dyn Random) -> Self {
        let seed = Zeroizing::new(random_bytes::<32>(random));
        Self(x25519_dalek::StaticSecret::from(*seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> HpkePk {
        HpkePk(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The secret shared with the holder of `other`.
    ///
    /// # Errors
    /// [`CryptoError`] for a key that is weak or no key at all: it would make the secret known to everybody.
    pub fn agree(&self, other: &HpkePk) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        check_hpke_key(other).map_err(|_| CryptoError)?;
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(other.0));
        if shared.was_contributory() { Ok(Zeroizing::new(shared.to_bytes())) } else { Err(CryptoError) }
    }
}

/// One HPKE message: the encapsulated key, the ciphertext with tag, and a secret that both sides can export.
pub struct HpkeSealed {
    /// Encapsulated key.
    pub enc: [u8; 32],
    /// Ciphertext and tag.
    pub ct: Vec<u8>,
    /// 32 bytes that only the two sides know, bound to the message's key schedule (RFC 9180 §5.3).
    pub export: Zeroizing<[u8; 32]>,
}

/// Seals to a public key. In base mode (no `psk`) the receiver learns nothing about who sealed; with a shared
/// secret (PSK mode, RFC 9180 §5.1.2) it knows that the sender holds it.
///
/// # Errors
/// [`CryptoError`] for a key that is weak or no key at all.
pub fn hpke_seal(
    to: &HpkePk,
    psk: Option<&[u8; 32]>,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    random: &mut dyn Random,
) -> Result<HpkeSealed, CryptoError> {
    check_hpke_key(to).map_err(|_| CryptoError)?;
    let to = <HpkeKem as Kem>::PublicKey::from_bytes(&to.0).map_err(|_| CryptoError)?;
    let psk_id = ctx("psk");
    let mode = match psk {
        Some(psk) => OpModeS::Psk(PskBundle::new(psk, &psk_id).map_err(|_| CryptoError)?),
        None => OpModeS::Base,
    };
    let (enc, mut context) =
        hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, HpkeKem>(&mode, &to, info, &mut HpkeRandom(random))
            .map_err(|_| CryptoError)?;
    let ct = context.seal(plaintext, aad).map_err(|_| CryptoError)?;
    let mut export = Zeroizing::new([0; 32]);
    context.export(&ctx("export"), &mut *export).map_err(|_| CryptoError)?;
    Ok(HpkeSealed { enc: array(&enc.to_bytes()), ct, export })
}

/// Plaintext and exported secret of an HPKE message.
pub struct HpkeOpened {
    /// The plaintext, which is often a secret.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// As in [`HpkeSealed::export`].
    pub export: Zeroizing<[u8; 32]>,
}

/// Opens an HPKE message.
///
/// # Errors
/// [`CryptoError`] when anything does not match.
pub fn hpke_open(
    key: &HpkeKey,
    psk: Option<&[u8; 32]>,
    info: &[u8],
    aad: &[u8],
    enc: &[u8; 32],
    ct: &[u8],
) -> Result<HpkeOpened, CryptoError> {
    check_hpke_key(&HpkePk(*enc)).map_err(|_| CryptoError)?;
    let enc = <HpkeKem as Kem>::EncappedKey::from_bytes(enc).map_err(|_| CryptoError)?;
    let psk_id = ctx("psk");
    let mode = match psk {
        Some(psk) => OpModeR::Psk(PskBundle::new(psk, &psk_id).map_err(|_| CryptoError)?),
        None => OpModeR::Base,
    };
    let mut context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, HpkeKem>(&mode, &key.private, &enc, info)
        .map_err(|_| CryptoError)?;
    let plaintext = Zeroizing::new(context.open(ct, aad).map_err(|_| CryptoError)?);
    let mut export = Zeroizing::new([0; 32]);
    context.export(&ctx("export"), &mut *export).map_err(|_| CryptoError)?;
    Ok(HpkeOpened { plaintext, export })
}

/// Our random source in the shape that `hpke` takes.
struct HpkeRandom<'a>(&'a mut dyn Random);

impl TryRng for HpkeRandom<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(random_bytes(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(random_bytes(self.0)))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for HpkeRandom<'_> {}

/// Whether two byte strings are equal, in time that depends on their lengths only.
#[must_use]
pub fn equal_constant_time(a: &[u8], b: &[u8]) -> bool {
    // A MAC under a fixed key turns the comparison into `hmac::verify`, ring's constant-time comparison.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    let mut tag = Zeroizing::new(array(hmac::sign(&key, a).as_ref()));
    let equal = a.len() == b.len() && hmac::verify(&key, b, &*tag).is_ok();
    tag.zeroize();
    equal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn hkdf_gives_the_first_block_of_rfc_5869_test_case_1() {
        let ikm = [0x0b; 22];
        let salt = unhex("000102030405060708090a0b0c");
        let info = unhex("f0f1f2f3f4f5f6f7f8f9");
        let okm = hkdf_sha256(&salt, &ikm, &[&info[..4], &info[4..]]);
        assert_eq!(okm.to_vec(), unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"));
    }

    #[test]
    fn ed25519_gives_rfc_8032_test_1() {
        let seed: [u8; 32] =
            unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").try_into().unwrap();
        let key = SigningKey::from_seed(&seed);
        assert_eq!(key.public().to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(key.sign(b"").0[..8], unhex("e5564300c360ac72")[..]);
    }

    #[test]
    fn a_seed_gives_one_sequence_whatever_the_size_of_the_reads() {
        let (mut a, mut b) = (SeededRandom::new(7), SeededRandom::new(8));
        let first: [u8; 64] = a.bytes();
        assert_ne!(first, b.bytes());
        let mut again = SeededRandom::new(7);
        let (left, right): ([u8; 32], [u8; 32]) = (again.bytes(), again.bytes());
        assert_eq!(first[..], [left, right].concat()[..]);
    }

    #[test]
    fn an_hpke_message_opens_only_with_its_key_info_and_aad_and_exports_one_secret() {
        let mut random = SeededRandom::new(1);
        let (key, other) = (HpkeKey::generate(&mut random), HpkeKey::generate(&mut random));
        let sealed = hpke_seal(&key.public(), None, b"info", b"aad", b"secret", &mut random).unwrap();
        let opened = hpke_open(&key, None, b"info", b"aad", &sealed.enc, &sealed.ct).unwrap();
        assert_eq!(&opened.plaintext[..], b"secret");
        assert_eq!(*opened.export, *sealed.export);
        assert!(hpke_open(&other, None, b"info", b"aad", &sealed.enc, &sealed.ct).is_err());
        assert!(hpke_open(&key, None, b"inf0", b"aad", &sealed.enc, &sealed.ct).is_err());
        assert!(hpke_open(&key, None, b"info", b"aaD", &sealed.enc, &sealed.ct).is_err());
    }

    #[test]
    fn with_a_shared_secret_only_its_holder_can_have_sealed() {
        let mut random = SeededRandom::new(1);
        let key = HpkeKey::generate(&mut random);
        let sealed = hpke_seal(&key.public(), Some(&[1; 32]), b"info", b"aad", b"secret", &mut random).unwrap();
        let open = |psk| hpke_open(&key, psk, b"info", b"aad", &sealed.enc, &sealed.ct).is_ok();
        assert!(open(Some(&[1; 32])));
        assert!(!open(Some(&[2; 32])));
        assert!(!open(None));
    }

    /// 9 + the field's prime: the libraries would take it, and a device would have two keys.
    fn base_point_written_in_a_second_way() -> HpkePk {
        let mut key = HpkePk([0xff; 32]);
        (key.0[0], key.0[31]) = (0xed + 9, 0x7f);
        key
    }

    #[test]
    fn two_keys_agree_on_one_secret_and_never_with_a_weak_key() {
        let mut random = SeededRandom::new(1);
        let (a, b) = (AgreementKey::generate(&mut random), AgreementKey::generate(&mut random));
        assert_eq!(a.agree(&b.public()).unwrap(), b.agree(&a.public()).unwrap());
        let mut one = HpkePk::ZERO;
        one.0[0] = 1;
        for weak in [HpkePk::ZERO, one, base_point_written_in_a_second_way()] {
            assert!(a.agree(&weak).is_err());
        }
    }

    #[test]
    fn nothing_is_sealed_to_a_weak_key() {
        let mut random = SeededRandom::new(1);
        let mut one = HpkePk::ZERO;
        one.0[0] = 1;
        for weak in [HpkePk::ZERO, one, base_point_written_in_a_second_way()] {
            assert!(hpke_seal(&weak, None, b"", b"", b"secret", &mut random).is_err());
        }
    }

    #[test]
    fn constant_time_equality_is_equality() {
        assert!(equal_constant_time(b"123456", b"123456"));
        assert!(!equal_constant_time(b"123456", b"123457"));
        assert!(!equal_constant_time(b"123456", b"12345"));
    }
}
