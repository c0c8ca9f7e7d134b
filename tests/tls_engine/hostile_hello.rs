//! Hellos that a hostile client can send to a service: the right alert, and never a session or a panic.

use std::sync::Arc;

use keyferry::error::Reason;
use keyferry_parsers::tls::CipherSuite;
use rustls::ClientConnection;

use crate::hostile_client::{Scene, TLS12_SUITE, TLS13_SUITE};
use crate::peer::*;
use crate::pki::NAME;

/// What a service says to this first record.
#[track_caller]
fn answer(record: &[u8]) -> (keyferry::error::Error, Vec<u8>) {
    let mut engine = Scene::new().engine();
    let error = engine.feed(TIME, record).err().expect("a refusal");
    (error, drained(engine.as_mut()))
}

/// A plain ClientHello of a good client, its record header left out.
pub fn hello(suite: CipherSuite) -> Vec<u8> {
    let scene = Scene::new();
    let mut client =
        ClientConnection::new(Arc::new(scene.config(suite)), rustls::pki_types::ServerName::try_from(NAME).unwrap())
            .unwrap();
    take(&mut client).split_off(5)
}

/// A handshake record around a message whose length is set right.
fn record(mut message: Vec<u8>) -> Vec<u8> {
    let body = u32::try_from(message.len() - 4).unwrap().to_be_bytes();
    message[1..4].copy_from_slice(&body[1..]);
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22, 3, 1, length[0], length[1]], &message[..]].concat()
}

/// Fixed fields of a hello: version, random, session id; then suites, compression; extensions begin there.
fn extensions_at(hello: &[u8]) -> usize {
    let session_id = 4 + 2 + 32;
    let suites = session_id + 1 + usize::from(hello[session_id]);
    let compression = suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    compression + 1 + usize::from(hello[compression])
}

/// The hello with its extensions, as type and data, changed.
fn with_extensions(hello: &[u8], change: impl Fn(&mut Vec<(u16, Vec<u8>)>)) -> Vec<u8> {
    let at = extensions_at(hello);
    let mut rest = &hello[at + 2..];
    let mut extensions = Vec::new();
    while let [a, b, c, d, tail @ ..] = rest {
        let (data, tail) = tail.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        extensions.push((u16::from_be_bytes([*a, *b]), data.to_vec()));
        rest = tail;
    }
    change(&mut extensions);
    let mut bytes = Vec::new();
    for (number, data) in extensions {
        bytes.extend(number.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
    }
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&hello[..at], &length, &bytes].concat()
}

fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

#[test]
fn bad_versions() {
    let old = |version: [u8; 2]| {
        let mut hello =
            with_extensions(&hello(TLS13_SUITE), |extensions| extensions.retain(|(number, _)| *number != 43));
        hello[4..6].copy_from_slice(&version);
        record(hello)
    };
    for version in [[0, 2], [2, 0], [3, 0], [3, 1], [3, 2]] {
        let (error, out) = answer(&old(version));
        assert_eq!(error.reason, Reason::PEER_VERSION, "{version:?} {error}");
        assert_eq!(out, alert(70), "protocol_version");
    }
    for offered in [&[2, 3, 2][..], &[4, 3, 1, 3, 2], &[2, 3, 5], &[2, 0x7f, 0x17]] {
        let (error, out) = answer(&record(with_extensions(&hello(TLS13_SUITE), |extensions| {
            extensions.iter_mut().find(|(number, _)| *number == 43).unwrap().1 = offered.to_vec();
        })));
        assert_eq!(error.reason, Reason::PEER_VERSION, "{offered:?} {error}");
        assert_eq!(out, alert(70), "protocol_version");
    }
    // Not even a record of TLS.
    let (error, out) = answer(&[22, 2, 0, 0, 4, 1, 0, 0, 0]);
    assert_eq!(error.reason, Reason::PEER_MALFORMED, "{error}");
    assert_eq!(out, alert(50), "decode_error");
}

#[test]
fn bad_extensions() {
    type Change = fn(&mut Vec<(u16, Vec<u8>)>);
    fn data(extensions: &mut [(u16, Vec<u8>)], wanted: u16) -> &mut Vec<u8> {
        &mut extensions.iter_mut().find(|(number, _)| *number == wanted).unwrap().1
    }
    let cases: &[(&str, Change, u8)] = &[
        ("one twice", |all| all.push(all[0].clone()), 47),
        ("server_name without a name", |all| *data(all, 0) = vec![0, 0], 50),
        ("server_name cut short", |all| data(all, 0).truncate(4), 50),
        ("server_name with a name that is none", |all| *data(all, 0) = vec![0, 6, 0, 0, 3, b'a', b' ', b'b'], 47),
        ("an empty supported_versions", |all| *data(all, 43) = vec![0], 50),
        ("supported_groups of odd length", |all| *data(all, 10) = vec![0, 3, 0, 29, 0], 50),
        ("signature_algorithms cut short", |all| data(all, 13).truncate(3), 50),
        ("no signature_algorithms", |all| all.retain(|(number, _)| *number != 13), 40),
        ("no supported_groups", |all| all.retain(|(number, _)| *number != 10), 40),
        ("no key_share", |all| all.retain(|(number, _)| *number != 51), 40),
        ("a key_share that is no key", |all| *data(all, 51) = vec![0, 9, 0, 29, 0, 5, 1, 2, 3, 4, 5], 47),
        ("a key_share of the identity", |all| *data(all, 51) = [&[0, 36, 0, 29, 0, 32][..], &[0; 32]].concat(), 47),
        (
            "two shares of a group",
            |all| {
                let share = [&[0, 29, 0, 32][..], &[9; 32]].concat();
                *data(all, 51) = [&[0, 72], &share[..], &share].concat();
            },
            47,
        ),
        ("a key_share longer than it says", |all| data(all, 51).push(0), 50),
        ("a pre_shared_key that is not the last", |all| all.insert(0, (41, psk())), 47),
        (
            "a pre_shared_key without its modes",
            |all| {
                all.retain(|(number, _)| *number != 45);
                all.push((41, psk()));
            },
            109,
        ),
        ("an empty list of application protocols", |all| all.push((16, vec![0, 0])), 50),
        ("an application protocol without a name", |all| all.push((16, vec![0, 1, 0])), 50),
        ("early_data with content", |all| all.push((42, vec![0])), 50),
    ];
    for (what, change, description) in cases {
        let (error, out) = answer(&record(with_extensions(&hello(TLS13_SUITE), change)));
        assert_eq!(out, alert(*description), "{what}: {error}");
        assert!(![Reason::INTERNAL, Reason::PEER_CLOSED].contains(&error.reason), "{what}: {error}");
    }
}

/// One identity and one binder.
fn psk() -> Vec<u8> {
    [&[0, 8, 0, 2, b'i', b'd', 0, 0, 0, 0, 0, 33, 32][..], &[7; 32]].concat()
}

#[test]
fn other_bad_fields_of_a_hello() {
    // No null compression, and more than null where TLS 1.3 is spoken.
    for (suite, compression) in [(TLS13_SUITE, &[1, 1][..]), (TLS12_SUITE, &[1, 1]), (TLS13_SUITE, &[2, 1, 0])] {
        let mut hello = hello(suite);
        let at = extensions_at(&hello);
        hello.splice(at - 2..at, compression.iter().copied());
        let (error, out) = answer(&record(hello));
        assert_eq!(out, alert(47), "illegal_parameter: {error}");
    }
    // A session id longer than 32 bytes.
    let mut long = hello(TLS13_SUITE);
    long[4 + 2 + 32] = 33;
    assert_eq!(answer(&record(long)).1, alert(50));
    // Without extended_master_secret.
    let (error, out) =
        answer(&record(with_extensions(&hello(TLS12_SUITE), |all| all.retain(|(number, _)| *number != 23))));
    assert_eq!((error.reason, out), (Reason::NO_EXTENDED_MASTER_SECRET, alert(40)));
    // Compressed points only.
    let (error, out) = answer(&record(with_extensions(&hello(TLS12_SUITE), |all| {
        all.iter_mut().find(|(number, _)| *number == 11).unwrap().1 = vec![1, 1];
    })));
    assert_eq!(out, alert(47), "{error}");
}

#[test]
fn a_hello_cut_at_every_byte_or_with_one_more() {
    for suite in [TLS13_SUITE, TLS12_SUITE] {
        let hello = hello(suite);
        for length in 4..hello.len() {
            let (error, out) = answer(&record(hello[..length].to_vec()));
            // A hello that ends before its extensions is a whole one of an old client.
            let whole = length == extensions_at(&hello);
            assert!(whole || out == alert(50), "decode_error at {length}: {error}, {out:?}");
        }
        let (error, out) = answer(&record([&hello[..], &[0]].concat()));
        assert_eq!((error.reason, out), (Reason::PEER_MALFORMED, alert(50)));
    }
}

#[test]
fn oversized_records_and_messages() {
    let (error, out) = answer(&[&[22, 3, 1, 0x48, 1][..], &[0; 0x4801]].concat());
    assert_eq!((error.reason, out), (Reason::PEER_OVERSIZED, alert(22)), "record_overflow");

    // A hello that announces 16 MB, delivered record by record.
    let mut engine = Scene::new().engine();
    let mut fragment = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    fragment[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    let error = (0..8).find_map(|_| {
        let error = engine.feed(TIME, &fragment).err();
        fragment[5..9].fill(0);
        error
    });
    assert_eq!(error.expect("not 128 KB").reason, Reason::PEER_OVERSIZED);
    assert_eq!(drained(engine.as_mut()), alert(50), "decode_error");
}

#[test]
fn what_is_no_hello() {
    // Finished, data, a key update, an empty handshake record again and again.
    for (first, description) in [
        (&[22, 3, 1, 0, 4, 20, 0, 0, 0][..], 10),
        (&[23, 3, 3, 0, 3, 1, 2, 3], 10),
        (&[20, 3, 3, 0, 1, 1], 10),
        (&[20, 3, 3, 0, 1, 2], 50),
        (&[22, 3, 1, 0, 5, 24, 0, 0, 1, 0], 10),
        (&[24, 3, 3, 0, 3, 1, 2, 3], 50),
        (b"GET / HTTP/1.1\r\n\r\n", 50),
    ] {
        // Text has no record; what a reader would cut off is its first header and the bytes that it promises.
        let mut first = first.to_vec();
        first.truncate(5 + usize::from(u16::from_be_bytes([first[3], first[4]])));
        let (error, out) = answer(&first);
        assert_eq!(out, alert(description), "{first:?}: {error}");
        if description == 50 {
            assert_eq!(error.reason, Reason::PEER_MALFORMED, "{error}");
        }
    }
    let mut engine = Scene::new().engine();
    let error = (0..100).find_map(|_| engine.feed(TIME, &[22, 3, 1, 0, 0]).err()).expect("not for ever");
    assert_eq!(error.reason, Reason::PEER_MALFORMED, "{error}");
    assert_eq!(drained(engine.as_mut()), alert(50), "decode_error");
}

/// By the length that its letters would be, text is an oversized record; it is not called that.
#[test]
fn text_is_not_tls_to_a_client_either() {
    let pki = crate::pki::Pki::new();
    for said in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 mail.example ESMTP\r\n", &[0xff; 64], &[0; 5]] {
        for fed in [&said[..5], said] {
            let mut engine = start(&client(pki.trust()), &offer());
            engine.drain(&mut Vec::new());
            let error = engine.feed(TIME, fed).err().expect("a refusal");
            assert_eq!(error.reason, Reason::PEER_MALFORMED, "{error}");
            assert_eq!(drained(engine.as_mut()), alert(50), "decode_error");
        }
    }
}

#[test]
fn warnings_without_end() {
    let mut engine = Scene::new().engine();
    let error = (0..100).find_map(|_| engine.feed(TIME, &[21, 3, 1, 0, 2, 1, 90]).err()).expect("not for ever");
    assert_ne!(error.reason, Reason::INTERNAL, "{error}");
}

/// Data right behind the hello: skipped up to a limit, and no session comes of it.
#[test]
fn early_data_is_not_taken() {
    let hello = record(with_extensions(&hello(TLS13_SUITE), |all| {
        all.push((42, Vec::new()));
        all.push((41, psk()));
    }));
    let mut engine = Scene::new().engine();
    engine.feed(TIME, &hello).map(drop).unwrap();
    let early = [&[23, 3, 3, 0x10, 0][..], &[7; 0x1000]].concat();
    let error = (0..8).find_map(|_| engine.feed(TIME, &early).err()).expect("not more than 16 KiB");
    assert!([Reason::PEER_PROTOCOL, Reason::PEER_MALFORMED].contains(&error.reason), "{error}");
}
