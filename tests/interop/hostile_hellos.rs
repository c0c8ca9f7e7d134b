//! Clients that do not keep to the rules, over real TCP: the right alert in the clear, and no session. Every byte of
//! every message has its turn in tests/tls_engine; here it is the way through gateway and kernel that counts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use anyhow::{Context, Result};
use xtask::lab::{Client, Host};

use crate::harness::{PATIENCE, World};
use crate::serving::{self, NAME, OPEN, Serving};

const DECODE_ERROR: u8 = 50;
const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const PROTOCOL_VERSION: u8 = 70;
const RECORD_OVERFLOW: u8 = 22;
const UNEXPECTED_MESSAGE: u8 = 10;

const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

#[test]
#[ignore = "needs network namespaces"]
fn malformed_first_records_get_the_right_alert() -> Result<()> {
    run(|world| {
        let cases: [(&str, Vec<u8>, u8); 15] = [
            ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), DECODE_ERROR),
            ("a record of SSL 2", vec![0x80, 46, 1, 3, 1, 0, 9, 0, 0, 0, 16], DECODE_ERROR),
            ("a record too long", [&[22, 3, 1, 0x48, 1][..], &[0; 0x4801]].concat(), RECORD_OVERFLOW),
            ("an empty handshake record", vec![22, 3, 1, 0, 0], DECODE_ERROR),
            ("application data first", [&[23, 3, 3, 0, 32][..], &[1; 32]].concat(), UNEXPECTED_MESSAGE),
            ("a Finished first", record(&message(20, &[0; 32])), UNEXPECTED_MESSAGE),
            ("a KeyUpdate", record(&message(24, &[0])), UNEXPECTED_MESSAGE),
            (
                "TLS 1.1",
                record(&hello([3, 2], |all| all.retain(|(kind, _)| *kind != SUPPORTED_VERSIONS))),
                PROTOCOL_VERSION,
            ),
            (
                "only a version that nobody knows",
                record(&hello([3, 3], |all| replace(all, SUPPORTED_VERSIONS, &[2, 3, 9]))),
                PROTOCOL_VERSION,
            ),
            ("an extension twice", record(&hello([3, 3], |all| all.push(all[0].clone()))), ILLEGAL_PARAMETER),
            (
                "no key share",
                record(&hello([3, 3], |all| all.retain(|(kind, _)| *kind != KEY_SHARE))),
                HANDSHAKE_FAILURE,
            ),
            (
                "a key share cut short",
                record(&hello([3, 3], |all| replace(all, KEY_SHARE, &[0, 36, 0, 29]))),
                DECODE_ERROR,
            ),
            ("a change_cipher_spec first", vec![20, 3, 3, 0, 1, 1], UNEXPECTED_MESSAGE),
            ("a byte too many", record(&message(1, &[&hello([3, 3], |_| ())[4..], &[0]].concat())), DECODE_ERROR),
            ("application data too short to be sealed", vec![23, 3, 3, 0, 3, 1, 2, 3], DECODE_ERROR),
        ];
        for (what, bytes, description) in cases {
            let heard = answer(world, &bytes)?;
            let counted = &world.gateway.stats(&world.lab)?["handshakes"];
            assert_eq!(heard, [21, 3, 3, 0, 2, 2, description], "{what}: {counted}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn hello_cut_anywhere_gets_decode_error() -> Result<()> {
    run(|world| {
        let whole = hello([3, 3], |_| ());
        // A hello that ends before its extensions is one of an old client.
        let extensions = 4 + 2 + 32 + 1 + 4 + 2;
        for length in (4..whole.len()).step_by(9).filter(|length| *length != extensions) {
            let cut = record(&message(1, &whole[4..length]));
            assert_eq!(answer(world, &cut)?, [21, 3, 3, 0, 2, 2, DECODE_ERROR], "at {length} of {}", whole.len());
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn good_hello_in_single_bytes_is_answered_and_a_second_one_is_not() -> Result<()> {
    run(|world| {
        let whole = record(&hello([3, 3], |_| ()));
        let mut stream = connect(world)?;
        stream.set_nodelay(true)?;
        for byte in &whole {
            stream.write_all(std::slice::from_ref(byte))?;
        }
        let mut first = [0; 6];
        stream.read_exact(&mut first)?;
        assert_eq!((first[0], first[5]), (22, 2), "a ServerHello");
        // In the clear, where only sealed records may come.
        stream.write_all(&whole)?;
        let mut rest = Vec::new();
        // The alert is sealed with handshake keys that this client does not have.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() > 100, "{rest:?}");
        Ok(())
    })
}

/// Runs the cases, and sees that nobody was let in but the good client afterwards.
fn run(cases: impl FnOnce(&World) -> Result<()>) -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let serving = Serving::page(world, &[])?;
        cases(world)?;
        assert_eq!(world.figure("/sessions/delivered")?, 0);
        serving::fetch(world, Client::OpenSsl, &serving::asking(world.pki.anchor_file()))?;
        assert_eq!(serving.clients().len(), 1);
        assert_eq!(world.figure("/handshakes_open")?, 0);
        Ok(())
    })
}

/// All that comes back for these bytes, until the end of the connection.
fn answer(world: &World, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = connect(world)?;
    // The gateway may have heard enough before the end of it.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut heard = Vec::new();
    let mut piece = [0; 1024];
    // A reset behind the alert is an end as well.
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        heard.extend_from_slice(&piece[..length]);
    }
    Ok(heard)
}

fn connect(world: &World) -> Result<TcpStream> {
    let target: SocketAddr = serving::target();
    let stream = world.lab.enter(Host::Peer, || TcpStream::connect(target))?.context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn record(message: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), message].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

type Extensions = Vec<(u16, Vec<u8>)>;

fn replace(extensions: &mut Extensions, wanted: u16, content: &[u8]) {
    for (_, data) in extensions.iter_mut().filter(|(kind, _)| *kind == wanted) {
        *data = content.to_vec();
    }
}

/// A small ClientHello of TLS 1.3, with this `legacy_version` and its extensions changed.
fn hello(version: [u8; 2], change: impl FnOnce(&mut Extensions)) -> Vec<u8> {
    let name = [&[0, (NAME.len() + 3) as u8, 0, 0, NAME.len() as u8][..], NAME.as_bytes()].concat();
    let mut extensions: Extensions = vec![
        (0, name),
        (10, vec![0, 2, 0, 29]),
        (13, vec![0, 2, 4, 3]),
        (SUPPORTED_VERSIONS, vec![2, 3, 4]),
        (KEY_SHARE, [&[0, 36, 0, 29, 0, 32][..], &[9; 32]].concat()),
    ];
    change(&mut extensions);
    let mut list = Vec::new();
    for (kind, data) in extensions {
        list.extend(kind.to_be_bytes());
        list.extend((data.len() as u16).to_be_bytes());
        list.extend(data);
    }
    let suites_and_compression = [0, 2, 0x13, 1, 1, 0];
    let length = (list.len() as u16).to_be_bytes();
    message(1, &[&version[..], &[7; 32], &[0], &suites_and_compression, &length, &list].concat())
}
