//! What a peer may not do.

use super::*;
use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::CipherSuite;

fn dies(write: impl FnOnce(&mut Peer), expected: Fault) {
    let (mut session, mut peer) = pair(0x1301);
    peer.data(b"good");
    write(&mut peer);
    assert_dies(&mut session, &peer.stream, expected);
}

#[test]
fn altered_record() {
    dies(
        |peer| {
            let end = peer.data(b"x").stream.len();
            peer.stream[end - 1] ^= 0x80;
        },
        Fault::BadRecordMac,
    );
}

#[test]
fn record_out_of_order() {
    let (mut session, mut peer) = pair(0x1301);
    peer.data(b"first");
    let second = peer.stream.len();
    peer.data(b"second");
    assert_dies(&mut session, &peer.stream[second..], Fault::BadRecordMac);
}

#[test]
fn plaintext_record() {
    for kind in [0, 20, 21, 22, 24] {
        let (mut session, _) = pair(0x1301);
        let record = [kind, 3, 3, 0, 2, 2, 20];
        assert_dies(&mut session, &record, Fault::UnexpectedMessage("a record that is not encrypted"));
    }
}

#[test]
fn record_over_the_limit_by_its_header_alone() {
    let (mut session, _) = pair(0x1301);
    assert_dies(&mut session, &[23, 3, 3, 0x41, 0x01], Fault::RecordOverflow);
}

#[test]
fn record_over_the_limit_inside() {
    dies(|peer| _ = peer.data(&[b'x'; MAX_FRAGMENT + 1]), Fault::RecordOverflow);
}

#[test]
fn record_at_the_limit_is_not() {
    let (mut session, mut peer) = pair(0x1301);
    peer.data(&[b'x'; MAX_FRAGMENT]);
    assert_eq!(read(&mut session, &peer.stream).0.len(), MAX_FRAGMENT);
}

#[test]
fn record_too_short() {
    let (mut session, _) = pair(0x1301);
    let fault = Fault::DecodeError("a record too short to hold a content type and a tag");
    assert_dies(&mut session, &[23, 3, 3, 0, 16], fault);
}

#[test]
fn missing_content_type() {
    dies(|peer| _ = peer.record(0, &[0; 30]), Fault::UnexpectedMessage("a record without a content type"));
}

#[test]
fn unknown_content_type() {
    for kind in [1, 20, 24, 255] {
        dies(|peer| _ = peer.record(kind, b"x"), Fault::UnexpectedMessage("a record of unknown content type"));
    }
}

#[test]
fn other_handshake_messages() {
    dies(
        |peer| _ = peer.record(22, &[13, 0, 0, 3, 0, 0, 0]),
        Fault::UnexpectedMessage("a CertificateRequest after the handshake"),
    );
    for kind in [0, 1, 2, 8, 11, 20, 254] {
        dies(
            |peer| _ = peer.record(22, &[kind, 0, 0, 0]),
            Fault::UnexpectedMessage("a handshake message after the handshake"),
        );
    }
}

#[test]
fn data_inside_a_handshake_message() {
    let fault = Fault::UnexpectedMessage("another record in the middle of a handshake message");
    dies(|peer| _ = peer.record(22, &[24, 0, 0]).data(b"x"), fault);
    dies(|peer| _ = peer.record(22, &[4, 0, 0, 9, 1]).close(), fault);
}

#[test]
fn handshake_data_behind_a_key_change() {
    let fault = Fault::UnexpectedMessage("handshake data behind a KeyUpdate under the old key");
    dies(|peer| _ = peer.record(22, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]), fault);
    dies(|peer| _ = peer.record(22, &[24, 0, 0, 1, 0, 4]), fault);
}

#[test]
fn malformed_key_update() {
    dies(|peer| _ = peer.record(22, &[24, 0, 0, 1, 2]), Fault::IllegalParameter("KeyUpdate.request_update"));
    for length in [0, 2, 255] {
        dies(|peer| _ = peer.record(22, &[24, 0, 0, length, 0, 0]), Fault::DecodeError("a KeyUpdate of wrong length"));
    }
}

#[test]
fn ticket_of_a_client() {
    let ticket = [4, 0, 0, 2, 1, 1];
    for resumable in [false, true] {
        let (_, mut peer) = pair(0x1301);
        let mut handover = handover(0x1301);
        (handover.role, handover.resumable) = (Role::SERVER, resumable);
        let mut session = Session::new(handover, START).unwrap();
        peer.record(22, &ticket);
        let fault = Fault::UnexpectedMessage("a NewSessionTicket from a client");
        assert_dies(&mut session, &peer.stream, fault);
    }
}

#[test]
fn impossible_ticket() {
    let fault = Fault::DecodeError("a NewSessionTicket of impossible length");
    dies(|peer| _ = peer.record(22, &[4, 0xff, 0xff, 0xff]), fault);
    dies(|peer| _ = peer.record(22, &[4, 0, 0, 0]), fault);
}

#[test]
fn empty_handshake_and_alert_records() {
    dies(|peer| _ = peer.record(22, &[]), Fault::UnexpectedMessage("an empty handshake record"));
    dies(|peer| _ = peer.record(21, &[]), Fault::UnexpectedMessage("an empty alert record"));
    for alert in [&[1][..], &[1, 0, 0]] {
        dies(|peer| _ = peer.record(21, alert), Fault::DecodeError("an alert that is not two bytes long"));
    }
}

#[test]
fn endless_empty_records() {
    let fault = Fault::UnexpectedMessage("a flood of records without data");
    dies(|peer| (0..33).for_each(|_| _ = peer.data(b"")), fault);
    dies(|peer| (0..33).for_each(|_| _ = peer.key_update(0)), fault);
    dies(|peer| (0..33).for_each(|_| _ = peer.record(21, &[1, 90])), fault);
    dies(|peer| (0..33).for_each(|_| _ = peer.record(22, &[4, 0, 0, 1, 0])), fault);
}

#[test]
fn flood_after_a_long_silence() {
    let (mut session, mut peer) = pair(0x1301);
    (0..33).for_each(|_| _ = peer.data(b""));
    let later = Instant::from_micros(50_000_000);
    let fault = Fault::UnexpectedMessage("a flood of records without data");
    assert_eq!(session.open(later, &mut &peer.stream[..]), Err(fault));
}

#[test]
fn alert_of_the_peer_is_not_answered() {
    let (mut session, mut peer) = pair(0x1301);
    peer.data(b"good").record(21, &[1, 40]);
    let (data, _, fault) = read(&mut session, &peer.stream);
    assert_eq!((data, fault), (b"good".to_vec(), Some(Fault::PeerAlert(AlertDescription(40)))));
    assert!(drained(&mut session).is_empty());
    assert!(session.seal(START, b"x", &mut Vec::new()).is_err());
}

#[test]
fn session_past_its_lifetime() {
    let (mut session, mut peer) = pair(0x1301);
    peer.data(b"late");
    let last = Instant::from_micros(session.expires().as_micros() - 1);
    let mut sent = Vec::new();
    session.seal(last, b"in time", &mut sent).unwrap();
    let end = session.expires();
    assert_eq!(session.open(end, &mut &peer.stream[..]), Err(Fault::SessionExpired));
    session.drain(&mut sent);
    assert_eq!(read(&mut mirror(0x1301), &sent), (b"in time".to_vec(), true, None), "the peer sees a close_notify");
    assert_eq!(session.seal(last, b"x", &mut Vec::new()), Err(Fault::SessionExpired), "no way back");
    assert!(session.connection.is_over());
}

#[test]
fn session_past_its_lifetime_says_close_notify_once() {
    let (mut session, _) = pair(0x1301);
    session.close(&mut Vec::new()).unwrap();
    assert_eq!(session.open(session.expires(), &mut &b""[..]), Err(Fault::SessionExpired));
    assert!(drained(&mut session).is_empty());
}

#[test]
fn hand_over_that_cannot_work() {
    let refused = |change: &dyn Fn(&mut Handover)| {
        let mut handover = handover(0x1301);
        change(&mut handover);
        Session::new(handover, START).err()
    };
    assert_eq!(refused(&|_| ()), None);
    assert_eq!(
        refused(&|h| h.tls_version = ProtocolVersion::TLS_1_2),
        Some(HandoverRefused::Version(ProtocolVersion::TLS_1_2))
    );
    assert!(matches!(refused(&|h| h.suite = CipherSuite(0x1304)), Some(HandoverRefused::Suite(_))));
    assert_eq!(refused(&|h| h.tx_secret = Secret::new(&[1; 48]).unwrap()), Some(HandoverRefused::SecretLength));
    assert_eq!(refused(&|h| h.suite = CipherSuite::TLS_AES_256_GCM_SHA384), Some(HandoverRefused::SecretLength));
    assert_eq!(refused(&|h| h.limits.records = 1), Some(HandoverRefused::Limits));
    assert_eq!(refused(&|h| h.limits.bytes = 16_384), Some(HandoverRefused::Limits));
    assert_eq!(refused(&|h| h.limits.seconds = 0), Some(HandoverRefused::Limits));
    assert_eq!(refused(&|h| h.tx_sequence = h.limits.records), Some(HandoverRefused::Limits));
}
