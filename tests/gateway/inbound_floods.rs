//! Strangers that knock at terminals without end: they take their own places, and never those of the terminals.

use std::net::SocketAddr;
use std::time::Duration;

use crate::world::{A_WHILE, Caller, Leaf, Stop, TERMINAL, World, caller_address, ip, serving_with};

/// Opens TCP and says nothing.
fn silent() -> Caller {
    Caller { stops_after: Some((0, Stop::Stall)), ..Caller::of(TERMINAL) }
}

fn from_host(number: usize) -> SocketAddr {
    SocketAddr::new(ip(&format!("10.7.3.{}", number % 250)), 50_000 + (number / 250) as u16)
}

fn refused(world: &World, cause: &str) -> u64 {
    world.gateway.stats().flows_refused.get(cause).copied().unwrap_or_default()
}

/// The terminal's own handshakes go on as if nothing were.
#[track_caller]
fn unharmed(world: &mut World, device: usize, source_port: u16) {
    let request = world.establish(device, source_port);
    world.talk(device, request, b"up", b"down");
}

#[test]
fn one_caller() {
    let (mut world, device) = serving_with(281, |_| {}, |_, _| {});
    for port in 0..200 {
        world.call(device, 50_000 + port, &silent());
    }
    assert_eq!(world.gateway.view().handshakes, 8);
    assert_eq!(refused(&world, "too many handshakes from there"), 192);
    unharmed(&mut world, device, 40_001);
    // Others come through, and he, too, when his time is over.
    let flow = world.call_from(device, from_host(1), &Caller::of(TERMINAL));
    world.run(A_WHILE);
    assert!(world.wires[&flow].open);
    world.run(Duration::from_secs(11));
    assert_eq!(world.gateway.view().handshakes, 0);
    world.answer(device, 51_000, &Caller::of(TERMINAL));
}

#[test]
fn one_terminal() {
    let few = |settings: &mut keyferry::gateway::Settings| settings.pending_per_terminal = 20;
    let (mut world, device) = serving_with(282, few, |_, _| {});
    let other = world.add_device();
    world.give_certificate(other, "own", &Leaf::of(TERMINAL));
    world.listen(other);
    world.run(A_WHILE);
    for number in 0..200 {
        world.call_from(device, from_host(number), &silent());
    }
    assert_eq!(world.gateway.view().handshakes, 20);
    assert_eq!(refused(&world, "quota"), 180);
    // Its own handshakes have places of their own, and so have those with other terminals.
    unharmed(&mut world, device, 40_001);
    world.answer(other, 50_001, &Caller::of(TERMINAL));
    world.run(Duration::from_secs(11));
    assert_eq!(world.gateway.view().handshakes, 0);
    world.answer(device, 51_001, &Caller::of(TERMINAL));
}

#[test]
fn all_terminals() {
    let few = |settings: &mut keyferry::gateway::Settings| settings.pending = 40;
    let (mut world, device) = serving_with(283, few, |_, _| {});
    for number in 0..200 {
        world.call_from(device, from_host(number), &silent());
    }
    assert_eq!(world.gateway.view().handshakes, 40);
    assert_eq!(refused(&world, "too many connections to terminals"), 160);
    for number in 0..20 {
        unharmed(&mut world, device, 40_001 + number);
    }
    world.establish_assisted(device, 41_000);
    world.run(Duration::from_secs(11));
    world.answer(device, 51_001, &Caller::of(TERMINAL));
}

#[test]
fn handshakes_a_second() {
    let slow = |settings: &mut keyferry::gateway::Settings| settings.handshakes_per_second = 5;
    let (mut world, device) = serving_with(284, slow, |_, _| {});
    for number in 0..100 {
        world.call_from(device, from_host(number), &Caller { garbage: Some(b"SSH-2.0\r\n".to_vec()), ..silent() });
    }
    assert_eq!(refused(&world, "quota"), 90);
    unharmed(&mut world, device, 40_001);
}

/// Sessions that were handed over count as well; those that the terminal asked for do not stand in their way.
#[test]
fn sessions_of_one_terminal() {
    let few = |settings: &mut keyferry::gateway::Settings| settings.sessions_per_terminal = 3;
    let (mut world, device) = serving_with(285, few, |_, _| {});
    let first = world.answer(device, 50_001, &Caller::of(TERMINAL));
    world.answer(device, 50_002, &Caller::of(TERMINAL));
    world.answer(device, 50_003, &Caller::of(TERMINAL));
    let flow = world.call(device, 50_004, &Caller::of(TERMINAL));
    assert!(world.wires[&flow].reset);
    assert_eq!(refused(&world, "as many sessions as the terminal may have"), 1);
    unharmed(&mut world, device, 40_001);
    let flow = world.devices[device].flows[&first];
    world.end_flow(flow);
    world.answer(device, 50_005, &Caller::of(TERMINAL));
}

/// However many dial a terminal that carries its handshakes itself, what it may ask for itself is its own.
#[test]
fn assisted_handshakes_that_strangers_cause() {
    let few = |settings: &mut keyferry::gateway::Settings| {
        settings.handshakes_per_second = 4;
        settings.pending_per_terminal = 4;
    };
    let (mut world, device) = serving_with(287, few, |_, _| {});
    for number in 0..20 {
        world.assist_server(
            device,
            from_host(number),
            keyferry_parsers::messages::Listen::new(crate::world::PORT),
            &silent(),
        );
        world.run(Duration::from_millis(50));
    }
    for number in 0..4 {
        unharmed(&mut world, device, 40_001 + number);
    }
}

/// One that proves nothing and holds on leaves room for others.
#[test]
fn sessions_of_one_stranger() {
    let (mut world, device) = serving_with(288, |_| {}, |_, _| {});
    for number in 0..64 {
        world.answer(device, 50_000 + number, &Caller::of(TERMINAL));
    }
    let flow = world.call(device, 51_000, &Caller::of(TERMINAL));
    assert!(world.wires[&flow].reset);
    assert_eq!(refused(&world, "too many sessions from there"), 1);
    let flow = world.call_from(device, from_host(1), &Caller::of(TERMINAL));
    world.run(A_WHILE);
    assert!(world.wires[&flow].open);
}

/// Keys for strangers take turns on a slow channel; the terminal's own session comes in between.
#[test]
fn a_slow_channel() {
    let (mut world, device) = serving_with(289, |_| {}, |_, _| {});
    world.link.delay = Duration::from_millis(600);
    let callers: Vec<_> =
        (0..24).map(|number| world.call_from(device, from_host(number), &Caller::of(TERMINAL))).collect();
    assert_eq!(callers.iter().filter(|flow| world.wires[flow].reached).count(), 4);
    let request = world.connect(device, 40_001);
    let took = world.run_until(Duration::from_secs(20), |world| world.devices[device].is_done(request));
    world.assert_session(device, request);
    assert!(took < Duration::from_secs(5), "{took:?}");
    world.run(Duration::from_secs(20));
    assert!(callers.iter().filter(|flow| world.wires[flow].open).count() >= 20, "their turn comes, too");
    assert_eq!(world.gateway.view().handshakes, 0);
}

/// A flood that never stops: after every wave all places are free again.
#[test]
fn waves() {
    let (mut world, device) = serving_with(286, |_| {}, |_, _| {});
    for wave in 0..20u16 {
        for port in 0..30 {
            world.call_from(device, caller_address(50_000 + wave * 100 + port), &silent());
        }
        unharmed(&mut world, device, 40_001 + wave);
        world.run(Duration::from_secs(11));
        assert_eq!(world.gateway.view().handshakes, 0, "wave {wave}");
    }
    world.answer(device, 60_000, &Caller::of(TERMINAL));
}
