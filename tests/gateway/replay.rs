//! Recorded channel traffic, sent again: nothing happens that has not happened already.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use keyferry::gateway::Input;
use keyferry_parsers::messages::{Connect, PeerName};

use crate::world::{Datagram, Recorded, World, assert_no_nonce_twice, from};

/// Sessions, on the path and assisted, a refused request and an echo, all recorded.
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
    let assisted = world.establish_assisted(device, 40_003);
    world.talk(device, assisted, b"up", b"down");
    let echo = world.echo(device);
    let refused = world.request(device, Connect::new(PeerName::Name("other.example".to_owned()), 443, 40_002));
    world.run(Duration::from_secs(1));
    assert_eq!(world.devices[device].echoed, [echo]);
    assert_eq!(world.devices[device].reason(refused), "forbidden-peer");
    world
}

/// Sends all that terminals said once more, from `remote` if given. Nothing must come of it: the gateway
/// repeats what it said before, or challenges, in fewer bytes than it was asked with. Returns its answers.
#[track_caller]
fn replay(world: &mut World, remote: Option<SocketAddr>) -> Vec<Recorded> {
    let look = |world: &World| (world.gateway.view(), world.connects, world.devices[0].keys.len(), world.bound.clone());
    let (before, recording) = (look(world), world.recorded.clone());
    for recorded in recording.iter().filter(|recorded| recorded.to_gateway) {
        let path = remote.map_or(recorded.path, from);
        let count = world.recorded.len();
        world.tell(Input::Datagram { path, bytes: recorded.bytes.clone() });
        for answer in &world.recorded[count..] {
            let is_known = recording.iter().any(|known| !known.to_gateway && known.bytes == answer.bytes);
            assert!(is_known || is_challenge(&answer.bytes), "a new answer to an old question");
            assert!(answer.path == path, "the answer went elsewhere");
            let same_host = path.remote.ip() == world.devices[0].address.ip();
            assert!(is_known && same_host || answer.bytes.len() <= recorded.bytes.len(), "amplified");
        }
    }
    assert!(before == look(world), "the recording had an effect");
    let answers = world.recorded[recording.len()..].to_vec();
    assert!(requests(&answers).is_subset(&requests(&recording)), "a request was made for a recording");
    assert_no_nonce_twice(&world.recorded);
    answers
}

/// A response under a Partial IV of its own, as no other answer of the gateway is.
fn is_challenge(bytes: &[u8]) -> bool {
    Datagram::parse(bytes).is_some_and(|datagram| !datagram.is_request && !datagram.partial_iv.is_empty())
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
            replay(&mut world, None);
            still_serves(&mut world);
        }
    }
}

#[test]
fn from_another_address() {
    for address in ["10.7.1.10:9", "10.7.1.99:5683", "203.0.113.9:5683"] {
        for learnt in [false, true] {
            let mut world = recording(52, learnt);
            let answers = replay(&mut world, Some(address.parse().unwrap()));
            assert!(!learnt || answers.iter().all(|answer| is_challenge(&answer.bytes)));
            assert!(learnt || address == "10.7.1.10:9" || answers.is_empty(), "not this terminal's address");
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
            let answers = replay(&mut world, address.map(|address| address.parse().unwrap()));
            assert!(answers.iter().all(|answer| is_challenge(&answer.bytes)));
            assert_eq!(answers.is_empty(), !learnt && address.is_some());
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
