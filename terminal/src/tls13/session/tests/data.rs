//! Data as records, and the end of it.

use super::*;

#[test]
fn long_plaintext_is_split_into_records() {
    let plaintext: Vec<u8> = (0..40_000u32).map(|i| i as u8).collect();
    for suite in [0x1301, 0x1302, 0x1303] {
        let (mut session, _) = pair(suite);
        let mut sent = Vec::new();
        session.seal(START, &plaintext, &mut sent).unwrap();
        assert_eq!(sent.len(), plaintext.len() + 3 * 22, "three records");
        assert_eq!(read(&mut mirror(suite), &sent), (plaintext.clone(), false, None));
    }
}

#[test]
fn padding_and_empty_records_are_accepted() {
    let (mut session, mut peer) = pair(0x1301);
    peer.record(0, b"padded\x17\0\0\0").data(b"").data(b"!");
    assert_eq!(read(&mut session, &peer.stream), (b"padded!".to_vec(), false, None));
}

#[test]
fn half_close_lets_the_other_direction_live() {
    let (mut session, mut peer) = pair(0x1301);
    peer.data(b"last").close().data(b"ignored");
    assert_eq!(read(&mut session, &peer.stream), (b"last".to_vec(), true, None));
    assert!(session.is_closed_by_peer());
    assert_eq!(read(&mut session, b"whatever follows"), (vec![], false, None));
    let mut sent = Vec::new();
    session.seal(START, b"still here", &mut sent).unwrap();
    session.close(&mut sent).unwrap();
    session.close(&mut sent).unwrap();
    assert_eq!(read(&mut mirror(0x1301), &sent), (b"still here".to_vec(), true, None));
    assert_eq!(session.seal(START, b"x", &mut sent), Err(Fault::Closed));
    assert!(session.connection.is_over(), "keys erased once both sides have closed");
}

#[test]
fn after_our_close_we_still_read_but_answer_no_key_update() {
    let (mut session, mut peer) = pair(0x1301);
    session.close(&mut Vec::new()).unwrap();
    peer.data(b"a").key_update(1).data(b"b");
    assert_eq!(read(&mut session, &peer.stream), (b"ab".to_vec(), false, None));
    assert!(drained(&mut session).is_empty());
}
