//! How much one key may protect, and how long it may serve.

use super::*;

fn limited(records: u64, bytes: u64) -> (Session, Session) {
    let mut ours = handover(0x1301);
    ours.limits.records = records;
    ours.limits.bytes = bytes;
    (Session::new(ours, START).unwrap(), mirror(0x1301))
}

fn record_lengths(mut stream: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = stream {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length - 17);
        stream = &rest[length..];
    }
    lengths
}

#[test]
fn no_key_protects_more_records_than_allowed() {
    let (mut session, mut peer) = limited(4, 1 << 20);
    let mut sent = Vec::new();
    for _ in 0..7 {
        session.seal(START, b"xx", &mut sent).unwrap();
    }
    assert_eq!(record_lengths(&sent), [2, 2, 2, 5, 2, 2, 2, 5, 2], "the fourth record of a key is its KeyUpdate");
    assert_eq!(read(&mut peer, &sent).0, b"xx".repeat(7));
}

#[test]
fn no_key_protects_more_bytes_than_allowed() {
    let (mut session, mut peer) = limited(1 << 20, 20_000);
    let mut sent = Vec::new();
    for _ in 0..3 {
        session.seal(START, &[1; 9_000], &mut sent).unwrap();
    }
    assert_eq!(record_lengths(&sent), [9_000, 9_000, 5, 9_000]);
    assert_eq!(read(&mut peer, &sent).0.len(), 27_000);
}

#[test]
fn peer_is_asked_once_for_a_new_key() {
    let (mut session, _) = limited(4, 1 << 20);
    let (_, mut peer) = pair(0x1301);
    (0..7).for_each(|_| _ = peer.data(b"x"));
    assert_eq!(read(&mut session, &peer.stream), (b"x".repeat(7), false, None));
    let asked = drained(&mut session);
    assert_eq!(record_lengths(&asked), [5]);
    let mut other = mirror(0x1301);
    assert_eq!(read(&mut other, &asked).2, None);
    assert_eq!(record_lengths(&drained(&mut other)), [5], "the request is understood and answered");
}

#[test]
fn peer_that_does_not_listen_is_stopped() {
    for (records, bytes, length) in [(4, 1 << 20, 1), (1 << 20, 20_000, 5_000)] {
        let (mut session, _) = limited(records, bytes);
        let (_, mut peer) = pair(0x1301);
        (0..10).for_each(|_| _ = peer.data(&vec![1; length]));
        let (data, closed, fault) = read(&mut session, &peer.stream);
        assert_eq!((data.len(), closed, fault), (8 * length, false, Some(Fault::KeyExhausted)), "{length}");
        let said = drained(&mut session);
        assert_eq!(record_lengths(&said), [5, 2], "a request, and close_notify");
        assert!(session.connection.is_over());
    }
}

#[test]
fn peer_that_listens_goes_on() {
    let (mut session, _) = limited(4, 1 << 20);
    let (_, mut peer) = pair(0x1301);
    for _ in 0..5 {
        (0..7).for_each(|_| _ = peer.data(b"x"));
        peer.key_update(0);
    }
    assert_eq!(read(&mut session, &peer.stream), (b"x".repeat(35), false, None));
}
