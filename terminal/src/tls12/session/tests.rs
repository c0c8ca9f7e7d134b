//! The session against records made by hand. Against an independent implementation: `tests/rustls_peer.rs`.

use super::*;
use crate::aead::Algorithm;
use crate::record::Protection;
use crate::samples;
use alloc::collections::BTreeSet;
use alloc::vec;
use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::CipherSuite;
use proptest::prelude::*;

const START: Instant = Instant::from_micros(0);
const SUITES: [u16; 6] = [0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9];

/// A peer that writes whatever a test wants.
struct Peer {
    tx: WriteKey,
    stream: Vec<u8>,
}

impl Peer {
    fn record(&mut self, kind: u8, content: &[u8]) -> &mut Self {
        self.tx.seal(ContentType(kind), content, &mut self.stream).unwrap();
        self
    }

    fn data(&mut self, content: &[u8]) -> &mut Self {
        self.record(23, content)
    }

    fn close(&mut self) -> &mut Self {
        self.record(21, &[1, 0])
    }
}

fn handover(suite: u16) -> Handover {
    let length = if matches!(suite, 0xc02b | 0xc02f) { 28 } else { 44 };
    let mut handover = samples::handover(suite, &vec![1; length], &vec![2; length]);
    handover.tls_version = ProtocolVersion::TLS_1_2;
    (handover.tx_sequence, handover.rx_sequence) = (1, 1);
    handover
}

fn pair_with(handover: Handover) -> (Session, Peer) {
    let tx = WriteKey::new(algorithm(handover.suite).unwrap(), handover.rx_secret.as_bytes(), 1).unwrap();
    (Session::new(handover, START).unwrap(), Peer { tx, stream: Vec::new() })
}

fn pair(suite: u16) -> (Session, Peer) {
    pair_with(handover(suite))
}

/// The other end of a session: same keys, other way round.
fn mirror(suite: u16) -> Session {
    let mut handover = handover(suite);
    core::mem::swap(&mut handover.tx_secret, &mut handover.rx_secret);
    handover.role = Role::SERVER;
    Session::new(handover, START).unwrap()
}

/// Everything the session makes of `stream`: the data, whether it was closed, the fault.
fn read(session: &mut Session, mut stream: &[u8]) -> (Vec<u8>, bool, Option<Fault>) {
    let mut data = Vec::new();
    loop {
        match session.open(START, &mut stream) {
            Ok(Some(Event::Data(bytes))) => data.extend_from_slice(bytes),
            Ok(Some(Event::Ticket(_))) => panic!("no tickets in TLS 1.2"),
            Ok(Some(Event::Closed)) => return (data, true, None),
            Ok(None) => return (data, false, None),
            Err(fault) => return (data, false, Some(fault)),
        }
    }
}

fn drained(session: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    session.drain(&mut out);
    out
}

/// The session must have died of `expected`, told the peer, and refuse everything from now on.
fn assert_dies(session: &mut Session, stream: &[u8], expected: Fault) {
    assert_eq!(read(session, stream).2, Some(expected));
    let seen = read(&mut mirror(0xc02b), &drained(session)).2;
    assert_eq!(seen, expected.alert().map(Fault::PeerAlert), "the peer must see the alert");
    assert_eq!(session.open(START, &mut &b""[..]), Err(expected));
    assert_eq!(session.seal(START, b"x", &mut Vec::new()), Err(expected));
    assert!(session.connection.is_over(), "the keys are gone");
}

fn dies(write: impl FnOnce(&mut Peer), expected: Fault) {
    let (mut session, mut peer) = pair(0xc02b);
    peer.data(b"good");
    write(&mut peer);
    assert_dies(&mut session, &peer.stream, expected);
}

#[test]
fn what_one_end_seals_the_other_opens() {
    for suite in SUITES {
        let plaintext: Vec<u8> = (0..40_000u32).map(|i| i as u8).collect();
        let (mut session, mut sent) = (pair(suite).0, Vec::new());
        session.seal(START, &plaintext, &mut sent).unwrap();
        session.close(&mut sent).unwrap();
        assert_eq!(read(&mut mirror(suite), &sent), (plaintext, true, None), "{suite:#06x}");
    }
}

#[test]
fn explicit_nonces_continue_and_never_repeat() {
    let (mut session, mut sent) = (pair(0xc02f).0, Vec::new());
    (0..1000).for_each(|_| session.seal(START, b"x", &mut sent).unwrap());
    let records: Vec<&[u8]> = sent.chunks(5 + 8 + 1 + 16).collect();
    assert_eq!(records[0][5..13], [1, 1, 1, 1, 1, 1, 1, 0], "the IV's end with record number 1");
    let nonces: BTreeSet<&[u8]> = records.iter().map(|record| &record[5..13]).collect();
    assert_eq!(nonces.len(), 1000);
    // The number 0, that of Finished, would give this one.
    assert!(!nonces.contains(&[1; 8][..]));
}

#[test]
fn chacha20_has_no_explicit_nonce() {
    let (mut session, mut sent) = (pair(0xcca8).0, Vec::new());
    session.seal(START, b"x", &mut sent).unwrap();
    assert_eq!(sent.len(), 5 + 1 + 16);
}

#[test]
fn a_received_explicit_nonce_is_free() {
    let (mut session, mut peer) = pair(0xc030);
    let mut secret = [2; 44];
    // Another counter than ours; the salt alone is shared.
    secret[36..].fill(0x77);
    peer.tx = WriteKey::new(Algorithm::Aes256Gcm, &secret, 1).unwrap();
    peer.data(b"hello").close();
    assert_eq!(read(&mut session, &peer.stream), (b"hello".to_vec(), true, None));
}

#[test]
fn the_prefix_goes_first() {
    let (_, mut peer) = pair(0xc02b);
    peer.data(b"early ").data(b"late").close();
    for cut in 0..peer.stream.len() {
        let mut handover = handover(0xc02b);
        handover.prefix = peer.stream[..cut].to_vec();
        let mut session = Session::new(handover, START).unwrap();
        assert_eq!(read(&mut session, &peer.stream[cut..]), (b"early late".to_vec(), true, None), "{cut}");
    }
}

#[test]
fn a_close_is_answered_at_once_and_final() {
    let (mut session, mut peer) = pair(0xc02b);
    peer.data(b"last").close().data(b"ignored");
    assert_eq!(read(&mut session, &peer.stream), (b"last".to_vec(), true, None));
    assert!(session.is_closed_by_peer());
    assert_eq!(read(&mut mirror(0xc02b), &drained(&mut session)), (vec![], true, None));
    assert_eq!(session.seal(START, b"x", &mut Vec::new()), Err(Fault::Closed));
    assert!(session.connection.is_over());
}

#[test]
fn after_our_close_we_still_read() {
    let (mut session, mut peer) = pair(0xc02b);
    session.close(&mut Vec::new()).unwrap();
    peer.data(b"a").data(b"b").close();
    assert_eq!(read(&mut session, &peer.stream), (b"ab".to_vec(), true, None));
    assert!(drained(&mut session).is_empty(), "close_notify is said once");
}

mod renegotiation {
    use super::*;

    fn turned_down(session: &mut Session, suite: u16) -> usize {
        let mut handover = handover(suite);
        core::mem::swap(&mut handover.tx_secret, &mut handover.rx_secret);
        let (mut other, out) = (Session::new(handover, START).unwrap(), drained(session));
        assert_eq!(read(&mut other, &out), (vec![], false, None), "a warning ends nothing");
        out.len() / (5 + 8 + 2 + 16)
    }

    #[test]
    fn is_turned_down_a_few_times() {
        let (mut session, mut peer) = pair(0xc02b);
        peer.record(22, &[0, 0, 0, 0]).data(b"a").record(22, &[0, 0, 0, 0, 0, 0, 0, 0]).data(b"b");
        assert_eq!(read(&mut session, &peer.stream), (b"ab".to_vec(), false, None));
        assert_eq!(turned_down(&mut session, 0xc02b), 3);
        let fault = Fault::UnexpectedMessage("a renegotiation that was turned down before");
        dies(|peer| (0..5).for_each(|_| _ = peer.record(22, &[0, 0, 0, 0]).data(b"x")), fault);
    }

    #[test]
    fn now_and_then_does_no_harm() {
        let (mut session, mut peer) = pair(0xc02b);
        for second in 0..20 {
            peer.stream.clear();
            peer.record(22, &[0, 0, 0, 0]);
            let now = Instant::from_micros(second * 1_000_000);
            assert_eq!(session.open(now, &mut &peer.stream[..]), Ok(None), "{second}");
        }
        assert_eq!(turned_down(&mut session, 0xc02b), 20);
    }

    #[test]
    fn by_a_client_is_too_whole_or_split() {
        let mut server = handover(0xc02b);
        server.role = Role::SERVER;
        let (mut session, mut peer) = pair_with(server.clone());
        let hello = [&[1, 0, 1, 0][..], &[7; 256]].concat();
        peer.record(22, &hello);
        hello.chunks(100).for_each(|part| _ = peer.record(22, part));
        peer.data(b"on");
        assert_eq!(read(&mut session, &peer.stream), (b"on".to_vec(), false, None));
        assert_eq!(turned_down(&mut session, 0xc02b), 2);

        let (mut session, mut peer) = pair_with(server);
        peer.record(22, &hello[..9]).data(b"x");
        let fault = Fault::UnexpectedMessage("another record in the middle of a handshake message");
        assert_eq!(read(&mut session, &peer.stream).2, Some(fault));
    }

    #[test]
    fn of_the_wrong_end_or_shape_is_refused() {
        let fault = Fault::UnexpectedMessage("a handshake message after the handshake");
        for kind in [1, 2, 4, 11, 20, 24, 255] {
            dies(|peer| _ = peer.record(22, &[kind, 0, 0, 0]), fault);
        }
        dies(|peer| _ = peer.record(22, &[0, 0, 0, 1, 0]), Fault::DecodeError("a HelloRequest that is not empty"));
        dies(|peer| _ = peer.record(22, &[]), Fault::UnexpectedMessage("an empty handshake record"));
    }
}

mod refused {
    use super::*;

    #[test]
    fn altered_and_reordered_records() {
        dies(
            |peer| {
                let end = peer.data(b"x").stream.len();
                peer.stream[end - 1] ^= 0x80;
            },
            Fault::BadRecordMac,
        );
        let (mut session, mut peer) = pair(0xc02b);
        let second = peer.data(b"first").stream.len();
        peer.data(b"second");
        assert_dies(&mut session, &peer.stream[second..], Fault::BadRecordMac);
    }

    #[test]
    fn a_record_under_another_type() {
        for suite in SUITES {
            let (mut session, mut peer) = pair(suite);
            peer.data(&[1, 0]).stream[0] = 21;
            assert_eq!(read(&mut session, &peer.stream), (vec![], false, Some(Fault::BadRecordMac)));
        }
    }

    #[test]
    fn other_versions_and_lengths() {
        let begins = |header: [u8; 5], fault| assert_dies(&mut pair(0xc02b).0, &header, fault);
        begins([23, 3, 1, 0, 40], Fault::ProtocolVersion);
        begins([23, 3, 4, 0, 40], Fault::ProtocolVersion);
        begins([23, 3, 3, 0x48, 0x01], Fault::RecordOverflow);
        begins([23, 3, 3, 0, 15], Fault::DecodeError("a record too short to hold a tag"));
        let short = [&[23, 3, 3, 0, 20][..], &[0; 20]].concat();
        let fault = Fault::DecodeError("a record too short to hold a nonce and a tag");
        assert_dies(&mut pair(0xc02b).0, &short, fault);
    }

    #[test]
    fn a_record_over_the_limit_inside() {
        dies(|peer| _ = peer.data(&[b'x'; MAX_FRAGMENT + 1]), Fault::RecordOverflow);
        let (mut session, mut peer) = pair(0xc02b);
        assert_eq!(read(&mut session, &peer.data(&[b'x'; MAX_FRAGMENT]).stream).0.len(), MAX_FRAGMENT);
    }

    #[test]
    fn change_cipher_spec_and_unknown_types() {
        dies(|peer| _ = peer.record(20, &[1]), Fault::UnexpectedMessage("a ChangeCipherSpec after the handshake"));
        for kind in [0, 1, 24, 255] {
            dies(|peer| _ = peer.record(kind, b"x"), Fault::UnexpectedMessage("a record of unknown content type"));
        }
    }

    #[test]
    fn malformed_alerts() {
        dies(|peer| _ = peer.record(21, &[]), Fault::UnexpectedMessage("an empty alert record"));
        dies(|peer| _ = peer.record(21, &[1]), Fault::DecodeError("an alert that is not two bytes long"));
        dies(|peer| _ = peer.record(21, &[3, 90]), Fault::IllegalParameter("Alert.level"));
    }

    #[test]
    fn a_fatal_alert_is_not_answered_and_a_warning_is_passed_over() {
        let (mut session, mut peer) = pair(0xc02b);
        peer.record(21, &[1, 90]).data(b"good").record(21, &[2, 40]);
        let fault = Some(Fault::PeerAlert(AlertDescription(40)));
        assert_eq!(read(&mut session, &peer.stream), (b"good".to_vec(), false, fault));
        assert!(drained(&mut session).is_empty());
    }

    #[test]
    fn endless_records_without_data() {
        let fault = Fault::UnexpectedMessage("a flood of records without data");
        dies(|peer| (0..33).for_each(|_| _ = peer.data(b"")), fault);
        dies(|peer| (0..33).for_each(|_| _ = peer.record(21, &[1, 90])), fault);
    }

    #[test]
    fn a_hand_over_that_cannot_work() {
        let refused = |change: &dyn Fn(&mut Handover)| {
            let mut handover = handover(0xc02b);
            change(&mut handover);
            Session::new(handover, START).err()
        };
        assert_eq!(refused(&|_| ()), None);
        let version = ProtocolVersion::TLS_1_3;
        assert_eq!(refused(&|h| h.tls_version = version), Some(HandoverRefused::Version(version)));
        for suite in [0x1301, 0x009c, 0xc009] {
            let suite = CipherSuite(suite);
            assert_eq!(refused(&|h| h.suite = suite), Some(HandoverRefused::Suite(suite)));
        }
        for length in [32, 44, 48] {
            let refused = refused(&|h| h.tx_secret = Secret::new(&vec![1; length]).unwrap());
            assert_eq!(refused, Some(HandoverRefused::SecretLength), "{length}");
        }
        assert_eq!(refused(&|h| h.limits.records = 2), Some(HandoverRefused::Limits), "Finished was one of them");
        assert_eq!(refused(&|h| h.limits.bytes = 16_384), Some(HandoverRefused::Limits));
        assert_eq!(refused(&|h| h.limits.seconds = 0), Some(HandoverRefused::Limits));
    }
}

mod limits {
    use super::*;

    fn limited(records: u64, bytes: u64) -> (Session, Peer) {
        let mut ours = handover(0xc02b);
        ours.limits.records = records;
        ours.limits.bytes = bytes;
        pair_with(ours)
    }

    #[test]
    fn of_records_end_the_session_with_close_notify() {
        let (mut session, _) = limited(5, 1 << 20);
        let mut sent = Vec::new();
        let sealed: Vec<_> = (0..4).map(|_| session.seal(START, b"x", &mut sent)).collect();
        assert_eq!(sealed, [Ok(()), Ok(()), Ok(()), Err(Fault::KeyExhausted)], "Finished, three, and close_notify");
        session.drain(&mut sent);
        assert_eq!(read(&mut mirror(0xc02b), &sent), (b"xxx".to_vec(), true, None));
        assert!(session.connection.is_over());
    }

    #[test]
    fn of_bytes_do_too() {
        let (mut session, _) = limited(1 << 20, 20_000);
        let mut sent = Vec::new();
        assert_eq!(session.seal(START, &[1; 30_000], &mut sent), Err(Fault::KeyExhausted));
        session.drain(&mut sent);
        assert_eq!(read(&mut mirror(0xc02b), &sent), (vec![1; MAX_FRAGMENT], true, None));
    }

    #[test]
    fn of_the_peers_key_do_too() {
        let (mut session, mut peer) = limited(5, 1 << 20);
        (0..6).for_each(|_| _ = peer.data(b"x"));
        assert_eq!(read(&mut session, &peer.stream), (b"xxxx".to_vec(), false, Some(Fault::KeyExhausted)));
        assert_eq!(read(&mut mirror(0xc02b), &drained(&mut session)), (vec![], true, None));
        let (mut session, mut peer) = limited(1 << 20, 20_000);
        (0..3).for_each(|_| _ = peer.data(&[1; 12_000]));
        assert_eq!(read(&mut session, &peer.stream), (vec![1; 24_000], false, Some(Fault::KeyExhausted)));
    }

    #[test]
    fn of_time_do_too() {
        let (mut session, _) = pair(0xc02b);
        assert_eq!(session.open(session.expires(), &mut &b""[..]), Err(Fault::SessionExpired));
        assert_eq!(read(&mut mirror(0xc02b), &drained(&mut session)), (vec![], true, None));
    }
}

/// Some two hundred bytes, and the data they carry.
fn sample() -> (Vec<u8>, Vec<u8>) {
    let (_, mut peer) = pair(0xc02b);
    peer.data(b"hello ").record(22, &[0, 0]).record(22, &[0, 0]).data(b"").data(b"world").record(21, &[1, 90]).close();
    (peer.stream.clone(), b"hello world".to_vec())
}

#[test]
fn every_truncation_yields_a_beginning_and_no_close() {
    let (stream, data) = sample();
    for length in 0..stream.len() {
        let (seen, closed, fault) = read(&mut pair(0xc02b).0, &stream[..length]);
        assert!(data.starts_with(&seen) && !closed && fault.is_none(), "at {length}");
    }
}

#[test]
fn every_flipped_bit_yields_nothing_that_was_not_sent() {
    let (stream, data) = sample();
    for bit in 0..stream.len() * 8 {
        let mut altered = stream.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let (seen, closed, _) = read(&mut pair(0xc02b).0, &altered);
        assert!(data.starts_with(&seen) && !closed, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_data(cuts in proptest::collection::vec(1usize..40, 1..80)) {
        let (stream, data) = sample();
        let mut session = pair(0xc02b).0;
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
    fn noise_never_becomes_data(noise in proptest::collection::vec(any::<u8>(), 0..200), suite in 0usize..6) {
        let framed = [&[23, 3, 3, 0, noise.len() as u8][..], &noise].concat();
        for stream in [&noise, &framed] {
            let (seen, closed, _) = read(&mut pair(SUITES[suite]).0, stream);
            prop_assert!(seen.is_empty() && !closed);
        }
    }
}
