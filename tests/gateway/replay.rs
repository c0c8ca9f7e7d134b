//! Recorded channel traffic, sent again: nothing happens that has not happened already.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use keyferry::gateway::Input;

use crate::world::{Datagram, Recorded, World, assert_no_nonce_twice, from};

/// A session, a refused request and an echo, all recorded.
fn recording(seed: u64, learnt: bool) -> World {
    let mut world = World::new(seed);
    let address: SocketAddr = "10.7.1.10:5683".parse().unwrap();
    let device = world.add_device_at(address, |record| {
        if !learnt {
            record.addresses = vec![address.ip()];
        }
    });
    let request = world.establish(device, 40_001);
    world.talk(device, request, b"up", b"down");
    let echo = world.echo(device);
    let mut refused = keyferry_parsers::messages::Connect::new(
        keyferry_parsers::messages::PeerName::Name("other.example".to_owned()),
        443,
        40_002,
    );
    refused.alpn = vec!["h2".to_owned()];
    let refused = world.request(device, refused);
    world.run(Duration::from_secs(1));
    assert_eq!(world.devices[device].echoed, [echo]);
    assert_eq!(world.devices[device].reason(refused), "forbidden-peer");
    world
}

/// Sends all that terminals said once more, from `remote` if given. Returns what the gateway said to it.
#[track_caller]
fn replay(world: &mut World, remote: Option<SocketAddr>) -> Vec<Recorded> {
    let before = (world.gateway.view(), world.connects, world.wires.len(), world.devices[0].keys.len());
    let count = world.recorded.len();
    let asked: BTreeSet<Vec<u8>> = requests(&world.recorded);
    for recorded in world.recorded.clone().into_iter().filter(|recorded| recorded.to_gateway) {
        let path = remote.map_or(recorded.path, from);
        world.tell(Input::Datagram { path, bytes: recorded.bytes });
    }
    let after = (world.gateway.view(), world.connects, world.wires.len(), world.devices[0].keys.len());
    assert!(before == after, "the recording had an effect");
    let answers = world.recorded[count..].to_vec();
    assert!(requests(&answers).is_subset(&asked), "a request was made for a recording");
    assert_no_nonce_twice(&world.recorded);
    answers
}

/// What the gateway asked for by itself; hand-overs are among it.
fn requests(recorded: &[Recorded]) -> BTreeSet<Vec<u8>> {
    let sent = recorded.iter().filter(|recorded| !recorded.to_gateway);
    let is_request = |bytes: &&Vec<u8>| Datagram::parse(bytes).is_some_and(|datagram| datagram.is_request);
    sent.map(|recorded| &recorded.bytes).filter(is_request).cloned().collect()
}

#[track_caller]
fn still_serves(world: &mut World) {
    let request = world.establish(0, 41_000);
    world.talk(0, request, b"still", b"here");
}

#[test]
fn at_once_and_later() {
    for wait in [0, 60, 300, 100_000] {
        for learnt in [false, true] {
            let mut world = recording(51, learnt);
            world.run(Duration::from_secs(wait));
            let known: BTreeSet<Vec<u8>> = world.recorded.iter().map(|recorded| recorded.bytes.clone()).collect();
            for answer in replay(&mut world, None) {
                assert!(known.contains(&answer.bytes), "a new answer to an old question after {wait} s");
            }
            still_serves(&mut world);
        }
    }
}

#[test]
fn from_another_address() {
    for address in ["10.7.1.10:9", "10.7.1.99:5683", "203.0.113.9:5683"] {
        for learnt in [false, true] {
            let mut world = recording(52, learnt);
            let bound = world.bound.clone();
            let answers = replay(&mut world, Some(address.parse().unwrap()));
            if learnt || address != "10.7.1.10:9" {
                assert!(answers.is_empty(), "{address} got {} answers", answers.len());
            }
            assert!(world.bound == bound, "a recording moved the terminal");
            still_serves(&mut world);
        }
    }
}

/// The gateway has forgotten what it has seen; its answer to a request is then a challenge, which a recording
/// cannot meet.
#[test]
fn after_a_restart() {
    for learnt in [false, true] {
        for address in [None, Some("10.7.1.77:5683")] {
            let mut world = recording(53, learnt);
            world.restart_gateway();
            let longest = world.recorded.iter().map(|recorded| recorded.bytes.len()).max().unwrap();
            let answers = replay(&mut world, address.map(|address| address.parse().unwrap()));
            assert!(answers.iter().all(|answer| answer.bytes.len() <= longest));
            assert_eq!(answers.is_empty(), !learnt && address.is_some());
            assert!(world.bound.is_empty(), "a recording gave the terminal an address");
            still_serves(&mut world);
        }
    }
}

/// The gateway dies with a hand-over on its way: what it says afterwards uses no nonce of before.
#[test]
fn a_restart_in_the_middle_of_a_hand_over() {
    for after in (0..60).map(|step| Duration::from_millis(5 * step)) {
        let mut world = World::new(54);
        let device = world.add_device();
        world.connect(device, 40_001);
        world.run(after);
        world.restart_gateway();
        replay(&mut world, None);
        world.run(Duration::from_secs(25));
        assert!(world.devices[device].keys.len() <= 1);
        still_serves(&mut world);
        assert_no_nonce_twice(&world.recorded);
    }
}
