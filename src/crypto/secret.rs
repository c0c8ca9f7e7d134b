//! Key material in memory: wiped when dropped, never printed, compared in constant time.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes of any length. There is no `Debug`, `Display` or `Clone` on purpose: a copy is made
/// by [`Secret::duplicate`], which a reader of the code can search for.
///
/// ```compile_fail
/// # use keyferry::crypto::Secret;
/// format!("{:?}", Secret::from_slice(b"never in a log"));
/// ```
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// A secret with a copy of `bytes`; wiping the original is the caller's business.
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// `length` zero bytes, to be filled in place so that no second copy exists.
    pub fn zeroed(length: usize) -> Self {
        Self(Zeroizing::new(vec![0; length].into_boxed_slice()))
    }

    /// The bytes, for the one that uses them as a key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, for the one that fills them in.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// A second copy, wiped on its own.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::from_slice(&self.0)
    }
}

impl PartialEq for Secret {
    /// In a time that depends on the lengths only.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl PartialEq<[u8]> for Secret {
    /// What was computed against what came over the wire, in a time that depends on the lengths only.
    fn eq(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_looks_at_every_byte_and_at_the_length() {
        let secret = Secret::from_slice(&[7; 32]);
        assert!(secret == secret.duplicate());
        for position in 0..32 {
            let mut other = secret.duplicate();
            other.as_mut_bytes()[position] ^= 0x80;
            assert!(secret != other, "byte {position}");
        }
        assert!(secret != Secret::from_slice(&[7; 31]));
        assert!(secret == *[7; 32].as_slice() && secret != *[7; 31].as_slice() && secret != *[6; 32].as_slice());
        assert!(Secret::zeroed(4) == Secret::from_slice(&[0; 4]));
    }
}
