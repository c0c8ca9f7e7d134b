//! The last steps of a connection to a terminal: its TCP, and its consent to the keys.

use std::time::Duration;

use keyferry::error::Reason;
use keyferry::stats::HandshakeKind;

use crate::world::{A_WHILE, Accepts, Caller, TERMINAL, World, serving};

#[track_caller]
fn failed(world: &World, device: usize, reason: Reason) {
    let counted = &world.gateway.stats().handshakes;
    let kind = HandshakeKind { protocol: "tls1.3", role: "server", failure: Some(reason) };
    assert_eq!(counted.get(&kind), Some(&1), "{counted:?}");
    assert!(world.devices[device].keys.is_empty(), "keys were handed over");
    let view = world.gateway.view();
    assert_eq!((view.handshakes, view.sessions), (0, 0));
    let id = &world.devices[device].record.id;
    assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0);
    assert_eq!(world.gateway.stats().sessions_delivered, 0);
}

#[test]
fn a_terminal_that_refuses_the_connection_gets_no_keys() {
    let (mut world, device) = serving(271);
    world.devices[device].accepts = Accepts::Refuses;
    let sent = world.sent();
    let flow = world.call(device, 50_001, &Caller::of(TERMINAL));
    world.run(A_WHILE);
    assert!(world.wires[&flow].reached && world.wires[&flow].reset && !world.wires[&flow].handed_over);
    assert_eq!(world.sent(), sent, "the terminal heard of it");
    failed(&world, device, Reason::NOT_LISTENING);
    world.devices[device].accepts = Accepts::Yes;
    world.answer(device, 50_002, &Caller::of(TERMINAL));
}

#[test]
fn a_terminal_that_does_not_answer() {
    let (mut world, device) = serving(272);
    world.devices[device].accepts = Accepts::Silent;
    let flow = world.call(device, 50_001, &Caller::of(TERMINAL));
    world.run(Duration::from_secs(11));
    assert!(world.wires[&flow].reset);
    failed(&world, device, Reason::NOT_LISTENING);
}

/// It stops to listen while the keys are on their way.
#[test]
fn a_terminal_that_refuses_the_keys() {
    let (mut world, device) = serving(273);
    let listening = *world.devices[device].listening.first_key_value().unwrap().0;
    let flow = world.call(device, 50_001, &Caller::of(TERMINAL));
    world.cancel(device, listening);
    world.run(A_WHILE);
    assert!(world.wires[&flow].handed_over && world.wires[&flow].reset && !world.wires[&flow].open);
    failed(&world, device, Reason::NOT_ACKNOWLEDGED);
}

#[test]
fn a_terminal_that_is_gone() {
    let (mut world, device) = serving(274);
    world.link.loss_percent = 100;
    let flow = world.call(device, 50_001, &Caller::of(TERMINAL));
    world.run(Duration::from_secs(70));
    assert!(world.wires[&flow].reset && !world.wires[&flow].open);
    failed(&world, device, Reason::NOT_ACKNOWLEDGED);
}

/// Nothing that the terminal says passes before it has its keys.
#[test]
fn the_connection_opens_with_the_acknowledgement() {
    let (mut world, device) = serving(275);
    let flow = world.call(device, 50_001, &Caller::of(TERMINAL));
    assert!(world.wires[&flow].handed_over && !world.wires[&flow].open);
    world.run(A_WHILE);
    assert!(world.wires[&flow].open);
}
