//! The one thin module over `ring`: hashes, HKDF, Ed25519, ChaCha20-Poly1305 and the random source as an
//! argument.

/// Where random bytes come from: the operating system in production, a seed in tests.
pub trait Random: Send {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A fresh array.
    fn bytes<const N: usize>(&mut self) -> [u8; N]
    where
        Self: Sized,
    {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}
// owner: crypto helper. Wanted: SystemRandom (OS), SeededRandom (tests; clearly named, pub),
// hkdf_sha256(salt, ikm, info, out), sign/public key types, seal_in_place/open_in_place.
