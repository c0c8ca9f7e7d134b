//! Workers that have no time, or take too much of it: handshakes end by name, and what comes too late changes nothing.

use std::time::Duration;

use keyferry::error::{Error, Reason};
use keyferry::gateway::{FlowId, Input};
use keyferry_channel::RequestId;
use keyferry_parsers::messages::Listen;

use crate::world::{A_WHILE, Caller, PORT, TERMINAL, Workers, World, caller_address, serving};

/// One handshake of each kind.
struct All {
    inline: RequestId,
    assisted: [RequestId; 2],
    called: FlowId,
}

fn begin(world: &mut World, device: usize) -> All {
    let inline = world.connect(device, 40_001);
    let client = world.assist(device, 40_002);
    let server = world.assist_server(device, caller_address(50_002), Listen::new(PORT), &Caller::of(TERMINAL));
    let called = world.call(device, 50_001, &Caller::of(TERMINAL));
    All { inline, assisted: [client, server], called }
}

#[track_caller]
fn nothing_left(world: &World, device: usize) {
    assert_eq!(world.gateway.view().handshakes, 0);
    let id = &world.devices[device].record.id;
    assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0);
    assert!(world.devices[device].keys.is_empty());
}

#[track_caller]
fn works_again(world: &mut World, device: usize) {
    world.establish(device, 41_001);
    world.establish_assisted(device, 41_002);
    world.answer(device, 51_001, &Caller::of(TERMINAL));
}

#[test]
fn without_a_free_worker() {
    let (mut world, device) = serving(421);
    world.workers = Workers::Overloaded;
    let all = begin(&mut world, device);
    world.run(A_WHILE);
    for request in [&[all.inline][..], &all.assisted].concat() {
        assert_eq!(world.devices[device].reason(request), "overloaded");
    }
    assert!(world.wires[&all.called].reset);
    nothing_left(&world, device);
    world.workers = Workers::Work;
    works_again(&mut world, device);
}

#[test]
fn workers_that_are_slow_but_in_time() {
    let (mut world, device) = serving(422);
    world.workers = Workers::Hang;
    let all = begin(&mut world, device);
    for _ in 0..30 {
        world.run(Duration::from_millis(300));
        world.release_workers();
        world.workers = Workers::Hang;
    }
    world.workers = Workers::Work;
    world.release_workers();
    world.run(A_WHILE);
    for request in [&[all.inline][..], &all.assisted].concat() {
        world.assert_session(device, request);
        world.talk(device, request, b"up", b"down");
    }
    assert!(world.wires[&all.called].open);
}

#[test]
fn workers_that_come_too_late() {
    let (mut world, device) = serving(423);
    world.workers = Workers::Hang;
    let all = begin(&mut world, device);
    world.run(Duration::from_secs(62));
    assert!(world.devices[device].is_done(all.inline) && world.wires[&all.called].reset);
    nothing_left(&world, device);
    assert_eq!(world.release_workers(), 4);
    world.run(A_WHILE);
    nothing_left(&world, device);
    works_again(&mut world, device);
}

/// The peer, or the terminal itself, is gone when the step is done.
#[test]
fn a_handshake_that_is_over_meanwhile() {
    let (mut world, device) = serving(424);
    world.workers = Workers::Hang;
    let all = begin(&mut world, device);
    world.run(Duration::from_millis(100));
    let error = Error::new(Reason::PEER_CLOSED, "lost");
    let flow = world.devices[device].flows[&all.inline];
    world.tell(Input::FlowFailed { flow, error: error.clone() });
    world.tell(Input::FlowFailed { flow: all.called, error });
    world.release_workers();
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(all.inline), "peer-closed");
    assert!(!world.wires[&all.called].reached);

    let (mut world, device) = serving(425);
    world.workers = Workers::Hang;
    begin(&mut world, device);
    world.run(Duration::from_millis(100));
    let id = world.devices[device].record.id.clone();
    world.tell(Input::Revoke(id));
    assert_eq!(world.release_workers(), 4);
    world.run(A_WHILE);
    assert!(world.devices[device].keys.is_empty());
    assert_eq!((world.reached, world.gateway.view().handshakes), (0, 0));
}
