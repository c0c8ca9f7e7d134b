//! The session against records made by hand, by RFC 8448, and by an independent implementation (Python cryptography).

use super::super::keys::TrafficKey;
use super::*;
use crate::record::Protection;
use crate::samples::{self, hex};
use alloc::vec;
use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::CipherSuite;
use proptest::prelude::*;

const START: Instant = Instant::from_micros(0);

/// A peer that writes whatever a test wants.
struct Peer {
    tx: TrafficKey,
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

    fn key_update(&mut self, request: u8) -> &mut Self {
        self.record(22, &[24, 0, 0, 1, request]);
        self.tx.update().unwrap();
        self
    }

    fn close(&mut self) -> &mut Self {
        self.record(21, &[1, 0])
    }
}

fn handover(suite: u16) -> Handover {
    let length = if suite == 0x1302 { 48 } else { 32 };
    samples::handover(suite, &vec![1; length], &vec![2; length])
}

fn pair(suite: u16) -> (Session, Peer) {
    let handover = handover(suite);
    let tx = TrafficKey::new(Suite::from_number(handover.suite).unwrap(), handover.rx_secret.as_bytes(), 0).unwrap();
    (Session::new(handover, START).unwrap(), Peer { tx, stream: Vec::new() })
}

/// The other end of a session: same keys, other way round.
fn mirror(suite: u16) -> Session {
    let mut handover = handover(suite);
    core::mem::swap(&mut handover.tx_secret, &mut handover.rx_secret);
    Session::new(handover, START).unwrap()
}

/// Everything the session makes of `stream`: the data, whether it was closed, the fault.
fn read(session: &mut Session, mut stream: &[u8]) -> (Vec<u8>, bool, Option<Fault>) {
    let mut data = Vec::new();
    loop {
        match session.open(START, &mut stream) {
            Ok(Some(Event::Data(bytes))) => data.extend_from_slice(bytes),
            Ok(Some(Event::Ticket(_))) => {}
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
    let (_, _, fault) = read(session, stream);
    assert_eq!(fault, Some(expected));
    let alert = drained(session);
    let (_, _, seen) = read(&mut mirror(0x1301), &alert);
    assert_eq!(seen, expected.alert().map(Fault::PeerAlert), "the peer must see the alert");
    assert_eq!(session.open(START, &mut &b""[..]), Err(expected));
    assert_eq!(session.seal(START, b"x", &mut Vec::new()), Err(expected));
    assert_eq!(session.key_update(START, &mut Vec::new()), Err(expected));
    assert!(session.connection.is_over(), "the keys are gone");
}

mod rfc_8448 {
    use super::*;

    const CLIENT: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
    const SERVER: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
    const TICKET: &str = "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a\
        015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e0\
        9c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77\
        f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74\
        bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985684f";
    const CLIENT_DATA: &str = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b\
        62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
    const SERVER_DATA: &str = "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8\
        fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
    const CLIENT_CLOSE: &str = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";
    const SERVER_CLOSE: &str = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9";

    /// Section 3: ticket, fifty bytes each way, close_notify each way.
    #[test]
    fn simple_1rtt_handshake() {
        let mut session = Session::new(samples::handover(0x1301, &hex(CLIENT), &hex(SERVER)), START).unwrap();
        let fifty: Vec<u8> = (0..50).collect();

        assert_eq!(read(&mut session, &hex(TICKET)), (vec![], false, None));
        let mut sent = Vec::new();
        session.seal(START, &fifty, &mut sent).unwrap();
        assert_eq!(sent, hex(CLIENT_DATA));
        assert_eq!(read(&mut session, &hex(SERVER_DATA)), (fifty, false, None));
        let mut sent = Vec::new();
        session.close(&mut sent).unwrap();
        assert_eq!(sent, hex(CLIENT_CLOSE));
        assert_eq!(read(&mut session, &hex(SERVER_CLOSE)), (vec![], true, None));
    }

    /// The gateway had read the server's first records already: they come in the hand-over.
    #[test]
    fn prefix_goes_first() {
        for cut in [1, 5, 100, 227] {
            let stream = [hex(TICKET), hex(SERVER_DATA), hex(SERVER_CLOSE)].concat();
            let mut handover = samples::handover(0x1301, &hex(CLIENT), &hex(SERVER));
            handover.prefix = stream[..cut].to_vec();
            let mut session = Session::new(handover, START).unwrap();
            assert_eq!(read(&mut session, &[]), (vec![], false, None));
            assert_eq!(read(&mut session, &stream[cut..]), ((0..50).collect(), true, None), "cut at {cut}");
        }
    }
}

/// Secrets 00 01 02 .., sequence number 5: data, KeyUpdate, data. By Python's cryptography 48.
#[test]
fn known_answers_of_an_independent_implementation() {
    let answers = [
        (
            0x1301,
            "170303001d0afcc32f71ed05892e9ee9ec3dbedd7f668cf46005de5853f57a84cfb3",
            "1703030016dbc266f0e6ef8d4927270fa22395f3cf8bd16eaccac8",
            "1703030021bb521b036b12aecde074f77e699fa20e42f4336a0f2931cefbd22e3bcf8ba8461b",
        ),
        (
            0x1302,
            "170303001da91d34c7d5ad78ca51098b54d095843a93d4a4d2cdd13ac4525ae1ebc9",
            "1703030016f2fb9d10ea282f923402c255a13f362231728072adc1",
            "17030300214df3d7e2f526eb1ecfef4aa02db1ca6fb4daafc645a107b6fde7f2665f167ea0a3",
        ),
        (
            0x1303,
            "170303001d40c73b000947e07cc6996ffbd662b17ac5edbac4fe246ad16bd5852374",
            "17030300166b5c3b47e631f4b313faf959dbe9466a4b831a327fca",
            "1703030021736d459e4081b2f92ded81921ef815d7b0d630da4e7e9ee3b488a8e3ec9a8ea321",
        ),
    ];
    for (suite, data, update, after) in answers {
        let length = if suite == 0x1302 { 48 } else { 32 };
        let secret: Vec<u8> = (0..length).collect();
        let mut handover = samples::handover(suite, &secret, &secret);
        handover.tx_sequence = 5;
        handover.rx_sequence = 5;
        let mut session = Session::new(handover, START).unwrap();

        let mut sent = Vec::new();
        session.seal(START, b"known answer", &mut sent).unwrap();
        session.key_update(START, &mut sent).unwrap();
        session.seal(START, b"after the update", &mut sent).unwrap();
        let expected = [hex(data), hex(update), hex(after)].concat();
        assert_eq!(sent, expected, "suite {suite:#x}");
        assert_eq!(read(&mut session, &expected), (b"known answerafter the update".to_vec(), false, None));
    }
}

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

#[test]
fn tickets_are_skipped_whole_split_and_together() {
    let (mut session, mut peer) = pair(0x1301);
    let ticket = [&[4, 0, 0, 200][..], &[9; 200]].concat();
    peer.record(22, &ticket).record(22, &[ticket.clone(), ticket.clone()].concat());
    for part in ticket.chunks(50) {
        peer.record(22, part);
    }
    peer.data(b"ok");
    assert_eq!(read(&mut session, &peer.stream), (b"ok".to_vec(), false, None));
}

mod resumable {
    use super::*;

    fn resumable() -> (Session, Peer) {
        let mut handover = handover(0x1301);
        handover.resumable = true;
        (Session::new(handover, START).unwrap(), pair(0x1301).1)
    }

    fn tickets(session: &mut Session, mut stream: &[u8]) -> Vec<Vec<u8>> {
        let mut tickets = Vec::new();
        while let Some(event) = session.open(START, &mut stream).unwrap() {
            if let Event::Ticket(ticket) = event {
                tickets.push(ticket);
            }
        }
        tickets
    }

    fn message(body: &[u8]) -> Vec<u8> {
        [&[4, 0][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    #[test]
    fn tickets_come_out_whole_split_and_together() {
        let (mut session, mut peer) = resumable();
        let long = message(&[9; 200]);
        peer.record(22, &[message(b"one"), message(b"two")].concat()).data(b"x");
        long.chunks(50).for_each(|part| _ = peer.record(22, part));
        peer.record(22, &[message(b"last"), vec![24, 0, 0, 1, 0]].concat());
        peer.tx.update().unwrap();
        peer.data(b"y");
        let expected = [b"one".to_vec(), b"two".to_vec(), vec![9; 200], b"last".to_vec()];
        assert_eq!(tickets(&mut session, &peer.stream), expected);
    }

    #[test]
    fn tickets_of_a_session_that_cannot_be_resumed_do_not() {
        let (mut session, mut peer) = pair(0x1301);
        peer.record(22, &message(b"one"));
        assert_eq!(tickets(&mut session, &peer.stream), [b""; 0]);
    }

    #[test]
    fn no_more_tickets_than_anybody_needs_are_kept() {
        let (mut session, mut peer) = resumable();
        peer.record(22, &message(b"t").repeat(6)).record(22, &message(&[1; 5000])).record(22, &message(&[2; 4096]));
        let kept = tickets(&mut session, &peer.stream);
        assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 1, 4096]);
    }

    #[test]
    fn the_thirty_second_update_is_the_end() {
        let (mut session, mut peer) = resumable();
        let mut sent = Vec::new();
        (0..31).for_each(|_| session.key_update(START, &mut sent).unwrap());
        assert_eq!(session.key_update(START, &mut sent), Err(Fault::KeyExhausted));
        session.drain(&mut sent);
        assert_eq!(read_slowly(&mut mirror(0x1301), &sent), (vec![], true, None), "close_notify instead");

        (0..31).for_each(|_| _ = peer.key_update(0));
        peer.data(b"y");
        let (mut session, _) = resumable();
        assert_eq!(read_slowly(&mut session, &peer.stream), (b"y".to_vec(), false, None));
        peer.stream.clear();
        assert_dies_of_use(&mut session, peer.key_update(0));
    }

    fn assert_dies_of_use(session: &mut Session, peer: &Peer) {
        assert_eq!(read(session, &peer.stream).2, Some(Fault::KeyExhausted));
        assert_eq!(read(&mut mirror(0x1301), &drained(session)), (vec![], true, None));
    }

    /// As `read`, slowly enough that thirty updates are no flood.
    fn read_slowly(session: &mut Session, stream: &[u8]) -> (Vec<u8>, bool, Option<Fault>) {
        let (mut data, mut now) = (Vec::new(), 0);
        for part in stream.chunks(27) {
            now += 1_000_000;
            let mut part = part;
            loop {
                match session.open(Instant::from_micros(now), &mut part) {
                    Ok(Some(Event::Data(bytes))) => data.extend_from_slice(bytes),
                    Ok(Some(Event::Ticket(_))) => {}
                    Ok(Some(Event::Closed)) => return (data, true, None),
                    Ok(None) => break,
                    Err(fault) => return (data, false, Some(fault)),
                }
            }
        }
        (data, false, None)
    }
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

mod refused {
    use super::*;

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
            dies(
                |peer| _ = peer.record(22, &[24, 0, 0, length, 0, 0]),
                Fault::DecodeError("a KeyUpdate of wrong length"),
            );
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
}

mod limits {
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
}

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
