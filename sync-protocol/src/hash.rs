//! Domain-separated SHA-256: every hash and signature of the protocol starts with `ctx(name)`.

use ring::digest;

/// `"lsync/v1/" ‖ name ‖ 0x00`, the prefix that keeps the uses of a hash or key apart.
#[must_use]
pub fn ctx(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + name.len());
    out.extend_from_slice(b"lsync/v1/");
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out
}

/// The same hash as [`sha256`], of bytes that come piece by piece.
#[derive(Clone)]
pub struct Hasher(digest::Context);

impl Hasher {
    /// Begins with `ctx(name)`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&ctx(name));
        Self(hash)
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything taken.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// SHA-256 over `ctx(name)` and the parts, in order. Parts must be of fixed length or the last one.
#[must_use]
pub fn sha256(name: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Hasher::new(name);
    parts.iter().for_each(|part| hash.update(part));
    hash.finish()
}
