//! Streams cut, altered and made up.

use super::*;
use proptest::prelude::*;

/// Two hundred odd bytes with a ticket, a KeyUpdate and padding in them, and the data they carry.
fn sample() -> (Vec<u8>, Vec<u8>) {
    let (_, mut peer) = pair(0x1301);
    peer.data(b"hello ")
        .record(22, &[4, 0, 0, 2, 1, 1])
        .data(b"there ")
        .key_update(1)
        .record(0, b"world\x17\0\0")
        .close();
    (peer.stream, b"hello there world".to_vec())
}

#[test]
fn every_truncation_yields_a_beginning_and_no_close() {
    let (stream, data) = sample();
    for length in 0..stream.len() {
        let (seen, closed, fault) = read(&mut pair(0x1301).0, &stream[..length]);
        assert!(data.starts_with(&seen) && !closed && fault.is_none(), "at {length}");
    }
}

#[test]
fn every_flipped_bit_yields_nothing_that_was_not_sent() {
    let (stream, data) = sample();
    for bit in 0..stream.len() * 8 {
        let mut altered = stream.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let (seen, closed, _) = read(&mut pair(0x1301).0, &altered);
        // A length made longer may leave the session waiting; it must never come to the end.
        assert!(data.starts_with(&seen) && !closed, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_data(cuts in proptest::collection::vec(1usize..40, 1..80)) {
        let (stream, data) = sample();
        let mut session = pair(0x1301).0;
        let (mut rest, mut seen, mut closed) = (&stream[..], Vec::new(), false);
        for cut in cuts.iter().cycle() {
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            let (bytes, now_closed, fault) = read(&mut session, part);
            prop_assert_eq!(fault, None);
            seen.extend(bytes);
            closed |= now_closed;
            rest = after;
            if rest.is_empty() { break }
        }
        prop_assert!(closed);
        prop_assert_eq!(seen, data);
    }

    #[test]
    fn what_one_end_seals_the_other_opens(
        writes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..12),
        updates in any::<u16>(),
        suite in 0x1301u16..=0x1303,
    ) {
        let (mut session, mut peer) = (pair(suite).0, mirror(suite));
        let mut sent = Vec::new();
        for (i, write) in writes.iter().enumerate() {
            if updates >> i & 1 == 1 {
                session.key_update(START, &mut sent).unwrap();
            }
            session.seal(START, write, &mut sent).unwrap();
        }
        session.close(&mut sent).unwrap();
        prop_assert_eq!(read(&mut peer, &sent), (writes.concat(), true, None));
    }

    #[test]
    fn noise_never_becomes_data(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let framed = [&[23, 3, 3, 0, noise.len() as u8][..], &noise].concat();
        for stream in [&noise, &framed] {
            let (seen, closed, _) = read(&mut pair(0x1303).0, stream);
            prop_assert!(seen.is_empty() && !closed);
        }
    }
}
