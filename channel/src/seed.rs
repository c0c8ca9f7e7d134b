//! Unpredictable and merely varied values from the one seed an endpoint gets at its start.

use core::time::Duration;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Draws from the seed. Never reveals it: what an attacker must not guess is HKDF output.
pub(crate) struct Seed {
    key: Zeroizing<[u8; 32]>,
    drawn: u64,
    /// State of a SplitMix64 generator, for retransmission jitter, where only spread counts.
    jitter: u64,
}

impl Seed {
    pub fn new(seed: [u8; 32]) -> Self {
        let mut new = Self { key: Zeroizing::new(seed), drawn: 0, jitter: 0 };
        new.jitter = u64::from_be_bytes(new.draw());
        new
    }

    /// Eight bytes nobody can predict.
    pub fn draw(&mut self) -> [u8; 8] {
        self.drawn = self.drawn.wrapping_add(1);
        let mut eight = [0; 8];
        let hkdf = Hkdf::<Sha256>::from_prk(self.key.as_slice());
        let drawn = hkdf.is_ok_and(|hkdf| hkdf.expand(&self.drawn.to_be_bytes(), &mut eight).is_ok());
        debug_assert!(drawn, "32 bytes of key are enough, 8 bytes of output few");
        eight
    }

    /// Somewhere from `base` to one and a half times `base`.
    pub fn jittered(&mut self, base: Duration) -> Duration {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.jitter;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Half of `base` times a fraction of 2^16, without floating point.
        let part = (mixed >> 48) as u32;
        base.saturating_add(base.saturating_mul(part) / (1 << 17))
    }
}
