//! For the tests: every way of cutting a message short, and of changing one byte of it.

use alloc::vec::Vec;

/// Gives `parse` every proper prefix of `bytes`, then `bytes` with each byte in turn set to 00, set to FF and counted up.
/// That `parse` comes back without a panic is what is tested.
pub(crate) fn mangle(bytes: &[u8], mut parse: impl FnMut(&[u8])) {
    for length in 0..bytes.len() {
        parse(&bytes[..length]);
    }
    let mut changed: Vec<u8> = bytes.to_vec();
    for (at, original) in bytes.iter().enumerate() {
        for value in [0, 0xff, original.wrapping_add(1)] {
            changed[at] = value;
            parse(&changed);
        }
        changed[at] = *original;
    }
}
