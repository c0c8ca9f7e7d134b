//! A revoked terminal is cut off at once, whatever it has under way.

use std::time::Duration;

use keyferry::gateway::Input;
use keyferry_channel::RequestId;

use crate::world::{A_WHILE, PeerBehaviour, Stop, World, ip, server_address};

/// Revokes the first terminal: nothing of it may be left, nothing may be said to it, and nothing may come after.
#[track_caller]
fn revoke(world: &mut World) {
    let id = world.devices[0].record.id.clone();
    let sent = world.sent();
    world.tell(Input::Revoke(id.clone()));
    assert!(world.wires.values().filter(|wire| wire.terminal.ip() == ip("10.7.1.10")).all(|wire| wire.reset));
    let view = world.gateway.view();
    assert_eq!((view.terminals, view.offers, view.handshakes, view.sessions), (1, 0, 0, 0));
    assert!(world.gateway.terminal_view(&id, world.now).is_none());
    let keys = world.devices[0].keys.len();
    world.connect(0, 41_000);
    world.echo(0);
    world.run(Duration::from_secs(300));
    assert_eq!(world.sent(), sent, "it was answered");
    assert_eq!(world.devices[0].keys.len(), keys);
    // Another one is not touched, and may use what the first has left.
    world.establish(1, 40_001);
}

fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.add_device();
    world.add_device();
    world
}

#[test]
fn while_its_name_is_looked_up() {
    let mut world = world(111);
    world.resolver_hangs = true;
    let request = world.connect(0, 40_001);
    world.run(Duration::from_millis(100));
    world.resolver_hangs = false;
    let connects = world.connects;
    let id = world.devices[0].record.id.clone();
    world.tell(Input::Revoke(id));
    world.answer_lookups();
    world.run(A_WHILE);
    assert_eq!((world.connects, world.gateway.view().offers), (connects, 0));
    assert!(world.devices[0].offers.is_empty() && !world.devices[0].sessions.contains_key(&request));
}

#[test]
fn with_an_offer() {
    let mut world = world(112);
    world.devices[0].opens_tcp = false;
    world.connect(0, 40_001);
    world.run(Duration::from_millis(200));
    assert_eq!(world.gateway.view().offers, 1);
    revoke(&mut world);
    let flow = world.open_tcp("10.7.1.10:40001".parse().unwrap(), server_address());
    assert!(world.wires[&flow].reset);
}

#[test]
fn in_the_handshake() {
    for after in 0..3 {
        let mut world = world(113);
        let stops_after = Some((after, Stop::Stall));
        world.peers.insert(server_address(), PeerBehaviour { stops_after, ..Default::default() });
        world.connect(0, 40_001);
        world.run(Duration::from_millis(500));
        assert_eq!(world.gateway.view().handshakes, 1);
        world.peers.insert(server_address(), PeerBehaviour::default());
        revoke(&mut world);
    }
}

/// A session whose keys are on their way: no retransmission may carry them on.
#[test]
fn while_its_keys_are_delivered() {
    let mut world = world(114);
    world.connect(0, 40_001);
    world.run_until(A_WHILE, |world| !world.devices[0].flows.is_empty());
    world.link.loss_percent = 100;
    world.run(Duration::from_secs(3));
    assert_eq!(world.gateway.view().handshakes, 1);
    world.link.loss_percent = 0;
    revoke(&mut world);
    assert!(world.devices[0].keys.is_empty());
}

#[test]
fn with_a_session() {
    let mut world = world(115);
    let request: RequestId = world.establish(0, 40_001);
    assert!(!world.wire(0, request).reset);
    revoke(&mut world);
    assert!(world.wire(0, request).reset);
    assert_eq!(world.gateway.stats().sessions_ended, 1);
}

#[test]
fn its_addresses_are_nobodys() {
    let mut world = World::new(116);
    let device = world.add_device_at("10.99.0.7:5683".parse().unwrap(), |_| {});
    world.establish(device, 40_001);
    assert_eq!(world.bound.len(), 1);
    let id = world.devices[device].record.id.clone();
    world.tell(Input::Revoke(id));
    assert!(world.bound.is_empty());
}

#[test]
fn admitted_again_it_is_served_again() {
    let mut world = world(117);
    world.establish(0, 40_001);
    let record = world.devices[0].record.clone();
    world.tell(Input::Revoke(record.id.clone()));
    let state = keyferry_channel::State::decode(&world.stored[&record.kid]).unwrap();
    world.tell(Input::Admit { record: Box::new(record), state: Box::new(state) });
    let request = world.establish(0, 40_001);
    world.talk(0, request, b"up", b"down");
}
