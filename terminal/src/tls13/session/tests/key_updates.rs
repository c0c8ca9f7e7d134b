//! KeyUpdates of the peer.

use super::*;

#[test]
fn key_update_of_the_peer_is_followed_and_answered_once() {
    let (mut session, mut peer) = pair(0x1302);
    peer.data(b"a").key_update(0).data(b"b").key_update(1).data(b"c").key_update(1).data(b"d");
    assert_eq!(read(&mut session, &peer.stream), (b"abcd".to_vec(), false, None));
    let mut sent = Vec::new();
    session.seal(START, b"new key", &mut sent).unwrap();
    assert_eq!(sent.len(), 5 + 5 + 17 + 5 + 7 + 17, "one KeyUpdate, one record");
    assert_eq!(read(&mut mirror(0x1302), &sent), (b"new key".to_vec(), false, None));
}

/// A peer that asks again and again gets no second update while nothing was sent under the first: its own limit on
/// updates without data would end the session.
#[test]
fn a_peer_that_asks_again_is_answered_once_until_there_is_data() {
    let (mut session, mut peer) = pair(0x1301);
    let mut answers = Vec::new();
    for asked in 0..10 {
        peer.key_update(1);
        let stream = core::mem::take(&mut peer.stream);
        assert_eq!(read(&mut session, &stream).2, None, "{asked}");
        answers.push(drained(&mut session).len());
    }
    // A header, a message of five bytes, its type and a tag.
    assert_eq!((answers[0], answers.iter().sum::<usize>()), (27, 27));
    let mut out = Vec::new();
    session.seal(START, b"data", &mut out).unwrap();
    peer.key_update(1);
    let stream = core::mem::take(&mut peer.stream);
    assert_eq!(read(&mut session, &stream).2, None);
    assert_eq!(drained(&mut session).len(), 27, "there was data since");
}

#[test]
fn key_updates_on_a_silent_session_are_followed() {
    let mut long = handover(0x1301);
    long.limits.seconds = 7200;
    let mut session = Session::new(long, START).unwrap();
    let (_, mut peer) = pair(0x1301);
    for minute in 0..100 {
        peer.stream.clear();
        peer.key_update(0);
        let now = Instant::from_micros(minute * 36_000_000);
        assert_eq!(session.open(now, &mut &peer.stream[..]), Ok(None), "number {minute}");
    }
    peer.stream.clear();
    peer.data(b"ok");
    assert_eq!(read(&mut session, &peer.stream).0, b"ok");
}

#[test]
fn key_update_split_over_records_is_understood() {
    let (mut session, mut peer) = pair(0x1301);
    peer.record(22, &[24, 0]).record(22, &[0, 1]).record(22, &[0]);
    peer.tx.update().unwrap();
    peer.data(b"ok");
    assert_eq!(read(&mut session, &peer.stream), (b"ok".to_vec(), false, None));
}
