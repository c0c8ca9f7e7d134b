//! The session against records made by hand, by RFC 8448, and by an independent implementation (Python cryptography).

mod altered;
mod data;
mod key_updates;
mod known_answers;
mod limits;
mod refused;
mod resumable;

use super::super::keys::TrafficKey;
use super::*;
use crate::record::Protection;
use crate::samples;
use alloc::vec;

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
