//! What must hold for any bytes, one function per wire format.
//!
//! The fuzz targets run them, and so does `parsers/tests/corpus.rs` over the committed corpus. Nothing may panic, and what
//! parses is emitted so that it parses to the same again.

use keyferry_parsers::ike::rules::{self, Payloads, Position};
use keyferry_parsers::ike::{PayloadType, RawMessage, looks_like_ike, v1, v2, vendor_name};
use keyferry_parsers::messages::{
    Connect, ConnectAnswer, Echo, Failure, Handover, KxAnswer, KxRequest, Listen, ListenAnswer, SessionPush, Ticket,
};
use keyferry_parsers::tls::{Alert, ContentType, Handshake, ProtocolVersion, Record, RecordHeader, dtls, ssl2};

/// A TLS record, with the alert inside if it is one.
pub fn tls_record(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    let mut emitted = Vec::new();
    record.emit(&mut emitted).expect("what was parsed fits");
    assert_eq!(emitted, bytes);

    let header = bytes.first_chunk().expect("a record has a header");
    let header = RecordHeader::parse(header).expect("a record that parses has a header that parses");
    assert_eq!(header.record_length(), bytes.len());

    if record.content_type == ContentType::ALERT
        && let Ok(alert) = Alert::parse(record.fragment)
    {
        assert_eq!(alert.emit(), record.fragment);
    }
}

/// Handshake messages of TLS 1.3 one after the other.
pub fn tls_handshake(bytes: &[u8]) {
    handshake_of(ProtocolVersion::TLS_1_3, bytes);
}

/// Handshake messages of TLS 1.2 one after the other.
pub fn tls12_handshake(bytes: &[u8]) {
    handshake_of(ProtocolVersion::TLS_1_2, bytes);
}

fn handshake_of(version: ProtocolVersion, bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((handshake, after))) = Handshake::next_as(version, rest) {
        let mut emitted = Vec::new();
        handshake.message.emit(&mut emitted).expect("what was parsed fits");
        assert_eq!(emitted, handshake.raw);
        assert_eq!(rest, [handshake.raw, after].concat());
        rest = after;
    }
    // Alone, too: the messages that follow do not matter.
    let _ = Handshake::parse_as(version, bytes);
}

/// The records of a DTLS datagram, with the handshake messages inside that came in one piece.
pub fn dtls(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok((record, after)) = dtls::Record::next(0, rest) {
        let mut emitted = Vec::new();
        record.emit(&mut emitted).expect("what was parsed fits");
        assert_eq!(rest, [&emitted, after].concat());
        if let dtls::Record::Plain(record) = record {
            dtls_handshake(record.fragment);
        }
        rest = after;
    }
}

fn dtls_handshake(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok((fragment, after)) = dtls::HandshakeFragment::next(rest) {
        let mut emitted = Vec::new();
        fragment.emit(&mut emitted).expect("what was parsed fits");
        assert_eq!(rest, [&emitted, after].concat());
        if let Ok(message) = dtls::Message::parse(fragment.msg_type, fragment.fragment) {
            let mut emitted = Vec::new();
            message.emit(&mut emitted).expect("what was parsed fits");
            assert_eq!(emitted, fragment.fragment);
        }
        rest = after;
    }
}

/// A record of SSL 2.0, with the message inside.
pub fn ssl2(bytes: &[u8]) {
    let Ok(Some((record, after))) = ssl2::Record::next(bytes) else {
        return;
    };
    let mut emitted = Vec::new();
    record.emit(&mut emitted).expect("what was parsed fits");
    assert_eq!(bytes, [&emitted, after].concat());
    if let Ok(message) = ssl2::Message::parse(record.data) {
        let mut emitted = Vec::new();
        message.emit(&mut emitted).expect("what was parsed fits");
        assert_eq!(emitted, record.data);
    }
}

/// Every message of the channel, tried on the same bytes.
pub fn messages(bytes: &[u8]) {
    if let Ok(message) = Connect::decode(bytes) {
        assert_eq!(Connect::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = ConnectAnswer::decode(bytes) {
        assert_eq!(ConnectAnswer::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = Failure::decode(bytes) {
        assert_eq!(Failure::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = Echo::decode(bytes) {
        assert_eq!(Echo::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = Listen::decode(bytes) {
        assert_eq!(Listen::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = ListenAnswer::decode(bytes) {
        assert_eq!(ListenAnswer::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = Ticket::decode(bytes) {
        assert_eq!(Ticket::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = KxRequest::decode(bytes) {
        assert_eq!(KxRequest::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = KxAnswer::decode(bytes) {
        assert_eq!(KxAnswer::decode_start(bytes).is_ok(), !message.needed.is_empty());
        assert_eq!(KxAnswer::decode(&message.encode()), Ok(message));
    }
    // Hand-overs hold secrets and cannot be compared: their encodings are.
    if let Ok(message) = Handover::decode(bytes) {
        let encoded = message.encode();
        let again = Handover::decode(&encoded).expect("what was encoded decodes");
        assert!(again.encode() == encoded);
    }
    if let Ok(message) = SessionPush::decode(bytes) {
        let encoded = message.encode();
        let again = SessionPush::decode(&encoded).expect("what was encoded decodes");
        assert!(again.encode() == encoded);
    }
}

/// An IKE message of either version.
pub fn ike_message(bytes: &[u8]) {
    let Ok(raw) = RawMessage::parse(bytes) else {
        assert!(!looks_like_ike(bytes));
        return;
    };
    let mut emitted = Vec::new();
    raw.emit(&mut emitted).expect("what was parsed fits");
    assert_eq!(emitted, bytes);

    // The payloads one by one, even where the message as a whole is broken.
    let types: Vec<PayloadType> = raw.payloads().map_while(Result::ok).map(|payload| payload.payload_type).collect();
    for position in [Position::Message(1), Position::Message(5), Position::Request, Position::Response] {
        let checked = rules::check(raw.header.exchange_type, position, Payloads::clear(&types));
        let _ = checked.map_err(|broken| broken.to_string());
    }

    emitted.clear();
    if let Ok(message) = v1::Message::from_raw(&raw) {
        message.emit(&mut emitted).expect("what was parsed fits");
        assert_eq!(emitted, bytes);
        message.payloads().unwrap_or_default().iter().for_each(look_at_v1);
    } else if let Ok(message) = v2::Message::from_raw(&raw) {
        message.emit(&mut emitted).expect("what was parsed fits");
        assert_eq!(emitted, bytes);
        message.payloads.iter().for_each(look_at_v2);
    }
}

/// Decrypted payloads of IKEv1 behind the type of the first.
pub fn ikev1_payloads(bytes: &[u8]) {
    let Some((first, decrypted)) = bytes.split_first() else {
        return;
    };
    let Ok((payloads, padding)) = v1::Payload::parse_all(PayloadType(*first), decrypted) else {
        return;
    };
    let mut emitted = Vec::new();
    v1::Payload::emit_all(&payloads, &mut emitted).expect("what was parsed fits");
    emitted.extend_from_slice(padding);
    assert_eq!(emitted, decrypted);
    payloads.iter().for_each(look_at_v1);
}

/// Decrypted payloads of IKEv2 behind the type of the first.
pub fn ikev2_payloads(bytes: &[u8]) {
    let Some((first, decrypted)) = bytes.split_first() else {
        return;
    };
    let Ok(payloads) = v2::Payload::parse_all(PayloadType(*first), decrypted) else {
        return;
    };
    let mut emitted = Vec::new();
    v2::Payload::emit_all(&payloads, &mut emitted).expect("what was parsed fits");
    assert_eq!(emitted, decrypted);
    payloads.iter().for_each(look_at_v2);
}

/// Calls what reads a payload further.
fn look_at_v1(payload: &v1::Payload<'_>) {
    match &payload.body {
        v1::Body::SecurityAssociation(sa) => {
            for transform in sa.proposals().iter().flat_map(|proposal| &proposal.transforms) {
                let _ = (transform.phase1().group_description(), transform.ipsec().encapsulation_mode());
                let _ = (transform.phase1().lifetimes().count(), transform.ipsec().lifetimes().count());
            }
        }
        v1::Body::Identification(id) => {
            let _ = id.identity().map(|identity| identity.to_string());
        }
        v1::Body::NatOriginalAddress(address) => {
            let _ = address.identity().map(|identity| identity.to_string());
        }
        v1::Body::VendorId(id) => {
            let _ = vendor_name(id);
        }
        _ => {}
    }
}

fn look_at_v2(payload: &v2::Payload<'_>) {
    match &payload.body {
        v2::Body::SecurityAssociation(sa) => {
            for transform in sa.proposals.iter().flat_map(|proposal| &proposal.transforms) {
                let _ = (transform.algorithm(), transform.key_length());
            }
        }
        v2::Body::IdI(id) | v2::Body::IdR(id) => {
            let _ = id.identity().map(|identity| identity.to_string());
        }
        v2::Body::Authentication(auth) => {
            let _ = auth.digital_signature();
        }
        v2::Body::Notify(notify) => {
            let _ = (notify.wanted_group(), notify.hash_algorithms().count());
        }
        v2::Body::CertificateRequest(request) => {
            let _ = request.key_hashes().count();
        }
        v2::Body::Eap(eap) => {
            let _ = eap.typed();
        }
        _ => {}
    }
}
