//! The padding of encrypted messages, which is the same in both versions (RFC 2409 appendix B, RFC 7296 section 3.14).

/// Payloads, zeros up to one byte short of whole blocks, and in that byte how many zeros. `None` beyond what memory
/// can hold, or of blocks larger than 256 bytes.
pub(super) fn padded(payloads: &[u8], block: usize) -> Option<Vec<u8>> {
    let length = payloads.len().checked_add(1)?.checked_next_multiple_of(block)?;
    let zeros = length.checked_sub(payloads.len())?.checked_sub(1)?;
    // Of its final size at once: growing would leave plaintext behind.
    let mut data = Vec::with_capacity(length);
    data.extend_from_slice(payloads);
    data.resize(length.checked_sub(1)?, 0);
    data.push(u8::try_from(zeros).ok()?);
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_and_their_number() {
        assert_eq!(padded(b"", 8).unwrap(), [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(padded(b"1234567", 8).unwrap(), *b"1234567\0");
        assert_eq!(padded(b"12345678", 8).unwrap(), *b"12345678\0\0\0\0\0\0\0\x07");
        assert_eq!(padded(b"1", 1).unwrap(), *b"1\0");
    }
}
