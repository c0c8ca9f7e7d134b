//! Whoever cannot prove to be an admitted terminal gets no answer, leaves no trace but a count, and cannot tell
//! an unknown terminal from a revoked one or a wrong key.

use std::net::SocketAddr;
use std::time::Duration;

use keyferry::gateway::Input;
use keyferry_channel::{ChannelKey, Endpoint, Id, Instant, Method, Output, RequestId, State};
use keyferry_parsers::messages::{Connect, PeerName};

use crate::world::{GATEWAY_ID, SERVER, World, from};

/// A well-formed request under these credentials.
fn request_of(kid: &[u8], key: [u8; 32]) -> Vec<u8> {
    let settings = keyferry_channel::Settings {
        own: Id::try_from(kid).unwrap(),
        peer: Id::try_from(GATEWAY_ID).unwrap(),
        handovers_per_epoch: 8,
        epoch_lifetime: Duration::MAX,
    };
    let now = Instant::from_micros(1);
    let mut endpoint = Endpoint::new(settings, State::new(ChannelKey::from_bytes(key)), [9; 32], now);
    let payload = Connect::new(PeerName::Name(SERVER.to_owned()), 443, 40_001).encode();
    let path = &["kf", "connect"];
    let input =
        keyferry_channel::Input::Request { id: RequestId(1), code: Method::POST, path, payload, handover: false };
    endpoint.handle_input(now, input).unwrap();
    loop {
        match endpoint.poll_output() {
            Output::Transmit(bytes) => return bytes,
            Output::Timeout(..) => panic!("nothing to send"),
            _ => {}
        }
    }
}

fn refused(world: &World) -> u64 {
    world.gateway.stats().channel_refused.values().sum()
}

/// Gives datagrams to the gateway. Each must be counted, and nothing else may change.
#[track_caller]
fn ignored(world: &mut World, remote: SocketAddr, datagrams: impl IntoIterator<Item = Vec<u8>>) {
    let look = |world: &World| {
        let terminals = world.devices.iter().map(|device| world.gateway.terminal_view(&device.record.id, world.now));
        let terminals: Vec<_> = terminals.collect();
        (terminals, world.gateway.view(), world.sent(), world.stored.clone(), world.bound.clone(), world.connects)
    };
    let before = look(world);
    for bytes in datagrams {
        let counted = refused(world);
        world.tell(Input::Datagram { path: from(remote), bytes });
        assert_eq!(refused(world), counted + 1);
    }
    assert!(look(world) == before, "a stranger left a trace");
}

#[test]
fn nobody_can_tell_why_there_is_no_answer() {
    let mut world = World::new(41);
    world.add_device();
    let revoked = world.add_device();
    let id = world.devices[revoked].record.id.clone();
    world.tell(Input::Revoke(id));
    let genuine = request_of(&[1, 0], [1; 32]);
    let cases = [
        ("unknown kid", request_of(&[7, 7], [1; 32])),
        ("wrong key", request_of(&[1, 0], [0xee; 32])),
        ("revoked", request_of(&[1, 1], [2; 32])),
        ("the gateway's own id", request_of(&[0], [1; 32])),
        ("plain CoAP", b"\x40\x01\x12\x34\xbb.well-known\x04core".to_vec()),
        ("a CoAP ping", vec![0x40, 0, 0x12, 0x34]),
        ("an acknowledgement", vec![0x60, 0, 0x12, 0x34]),
        ("a reset", vec![0x70, 0, 0x12, 0x34]),
        ("nothing", Vec::new()),
        ("cut", genuine[..genuine.len() - 1].to_vec()),
        ("longer", [&genuine[..], &[0]].concat()),
    ];
    for address in ["10.7.1.10:5683", "10.7.1.11:5683", "10.7.1.99:1", "203.0.113.9:9"] {
        for (what, bytes) in &cases {
            println!("{what} from {address}");
            ignored(&mut world, address.parse().unwrap(), [bytes.clone()]);
        }
    }
    // The credentials themselves were good, so that the test can tell.
    world.tell(Input::Datagram { path: from("10.7.1.10:5683".parse().unwrap()), bytes: genuine });
    assert_eq!(world.sent(), 1);
}

/// The genuine request from an address that is not the terminal's.
#[test]
fn a_spoofed_or_borrowed_source_address() {
    let mut world = World::new(42);
    world.add_device();
    world.add_device();
    let genuine = request_of(&[1, 0], [1; 32]);
    for address in ["10.7.1.11:5683", "10.7.1.99:5683", "203.0.113.9:5683"] {
        ignored(&mut world, address.parse().unwrap(), [genuine.clone()]);
    }
}

#[test]
fn a_flood_of_junk_leaves_no_trace() {
    let mut world = World::new(43);
    let device = world.add_device();
    world.establish(device, 40_001);
    world.run(Duration::from_secs(300));
    let address = world.devices[device].address;
    let genuine = request_of(&[1, 0], [0xee; 32]);
    let mut junk = Vec::new();
    for number in 0..20_000u32 {
        junk.push(match number % 4 {
            0 => (0..world.roll(200)).map(|_| world.roll(256) as u8).collect(),
            1 => {
                // The kid of an admitted terminal, under epochs near and far.
                let mut bytes = genuine.clone();
                let at = world.roll(bytes.len() as u32) as usize;
                bytes[at] ^= 1 << world.roll(8);
                bytes
            }
            2 => request_of(&number.to_be_bytes(), [3; 32]),
            _ => [&[0x60, 0x44][..], &number.to_be_bytes(), &[0x90, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9]].concat(),
        });
    }
    ignored(&mut world, address, junk);
    world.establish(device, 40_002);
}

/// The world after one session, and a request of its device that did not arrive.
fn with_genuine_request() -> (World, Vec<u8>) {
    let mut world = World::new(44);
    let device = world.add_device();
    world.establish(device, 40_001);
    let loss = std::mem::replace(&mut world.link.loss_percent, 100);
    world.connect(device, 40_002);
    world.link.loss_percent = loss;
    let genuine = world.recorded.last().unwrap().bytes.clone();
    (world, genuine)
}

fn flip(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

/// Everything from the OSCORE option on is authenticated. What is before it (type, message id, token) is not,
/// and may at most make the one request what it was: one request.
#[test]
fn every_bit_of_a_genuine_request_flipped() {
    let (mut world, genuine) = with_genuine_request();
    let address = world.devices[0].address;
    let token_end = 4 + usize::from(genuine[0] & 0x0f);
    ignored(&mut world, address, (token_end * 8..genuine.len() * 8).map(|bit| flip(&genuine, bit)));
    world.tell(Input::Datagram { path: from(address), bytes: genuine.clone() });
    assert_eq!(world.gateway.view().offers, 1, "the genuine one is taken still");

    for bit in 0..token_end * 8 {
        let (mut world, genuine) = with_genuine_request();
        world.tell(Input::Datagram { path: from(address), bytes: flip(&genuine, bit) });
        world.tell(Input::Datagram { path: from(address), bytes: genuine });
        assert_eq!(world.gateway.view().offers, 1, "bit {bit}");
    }
}
