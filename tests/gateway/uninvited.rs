//! Connections to terminals that policy or the terminal does not want: reset before a byte is read, and counted.

use std::time::Duration;

use keyferry::gateway::FlowId;
use keyferry::policy::TerminalPattern;
use keyferry_parsers::messages::Listen;

use crate::world::{A_WHILE, Caller, Leaf, PORT, TERMINAL, World, caller_address, ip, serving, serving_with};

#[track_caller]
fn turned_away(world: &World, flow: FlowId, cause: &str) {
    let wire = &world.wires[&flow];
    assert!(wire.reset && !wire.reached, "not turned away");
    assert!(wire.last_words.is_empty() && wire.peer.as_ref().unwrap().records_given == 0);
    assert_eq!(world.gateway.stats().flows_refused.get(cause), Some(&1), "{:?}", world.gateway.stats().flows_refused);
    assert_eq!(world.gateway.view().handshakes, 0);
}

fn call(world: &mut World, device: usize) -> FlowId {
    world.call(device, 50_001, &Caller::of(TERMINAL))
}

#[test]
fn a_terminal_that_does_not_listen() {
    let (mut world, _) = serving(241);
    let other = world.add_device();
    world.give_certificate(other, "own", &Leaf::of(TERMINAL));
    world.echo(other);
    world.run(A_WHILE);
    let flow = call(&mut world, other);
    turned_away(&world, flow, "the terminal does not listen");
}

#[test]
fn a_registration_that_lapsed() {
    let (mut world, device) = serving(242);
    world.answer(device, 50_000, &Caller::of(TERMINAL));
    // The terminal is gone: nothing is renewed.
    world.link.loss_percent = 100;
    world.run(Duration::from_secs(301));
    let flow = call(&mut world, device);
    turned_away(&world, flow, "the terminal does not listen");
}

#[test]
fn a_registration_is_renewed_until_the_terminal_stops() {
    let (mut world, device) = serving(243);
    let listening = *world.devices[device].listening.first_key_value().unwrap().0;
    for hour in 0..3 {
        world.run(Duration::from_secs(3_600));
        world.answer(device, 50_000 + hour, &Caller::of(TERMINAL));
    }
    assert!(world.devices[device].listening[&listening].len() > 30);
    world.cancel(device, listening);
    world.run(A_WHILE);
    let flow = world.call(device, 51_000, &Caller::of(TERMINAL));
    turned_away(&world, flow, "the terminal does not listen");
    // And may begin again.
    world.listen(device);
    world.run(A_WHILE);
    world.answer(device, 51_001, &Caller::of(TERMINAL));
}

#[test]
fn nobody_registers_for_longer_than_an_hour() {
    let (mut world, device) = serving(244);
    let listening = *world.devices[device].listening.first_key_value().unwrap().0;
    world.cancel(device, listening);
    let listening = world.listen_as(device, Listen { seconds: u32::MAX, ..Listen::new(PORT) });
    world.run(A_WHILE);
    assert_eq!(world.devices[device].listening[&listening], [3600]);
}

/// After a restart the gateway knows no registrations; the terminal's next announcement brings them back.
#[test]
fn a_gateway_that_has_restarted() {
    let (mut world, device) = serving(245);
    world.restart_gateway();
    let flow = call(&mut world, device);
    turned_away(&world, flow, "the terminal was not heard yet");
    world.run(Duration::from_secs(301));
    world.answer(device, 50_002, &Caller::of(TERMINAL));
}

#[test]
fn a_terminal_that_was_never_heard() {
    let (mut world, _) = serving_with(246, |_| {}, |service, _| service.without_request = true);
    let silent = world.add_device();
    world.give_certificate(silent, "own", &Leaf::of(TERMINAL));
    let flow = call(&mut world, silent);
    turned_away(&world, flow, "the terminal was not heard yet");
}

#[test]
fn a_terminal_without_certificate() {
    let (mut world, device) = serving(247);
    let other = world.add_device();
    let refused = world.listen(other);
    world.run(A_WHILE);
    assert_eq!(world.devices[other].reason(refused), "no-certificate");

    // Taken away while it listens.
    world.devices[device].credentials.clear();
    world.tell_credentials(device);
    let flow = call(&mut world, device);
    turned_away(&world, flow, "the terminal has no certificate");
}

#[test]
fn a_peer_from_a_network_that_may_not() {
    let (mut world, device) =
        serving_with(248, |_| {}, |service, _| service.peers = vec!["10.7.2.0/24".parse().unwrap()]);
    let flow = world.call_from(device, "10.7.3.1:50001".parse().unwrap(), &Caller::of(TERMINAL));
    turned_away(&world, flow, "forbidden client");
    world.answer(device, 50_002, &Caller::of(TERMINAL));
}

#[test]
fn another_port_than_policy_names() {
    let (mut world, device) = serving(249);
    let local = std::net::SocketAddr::new(world.devices[device].address.ip(), PORT + 1);
    let peer = crate::world::Peer::client(&world.pki, &Caller::of(TERMINAL));
    let flow = world.call_tcp(local, caller_address(50_001), peer);
    turned_away(&world, flow, "no service");
    let refused = world.listen_as(device, Listen::new(PORT + 1));
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "forbidden-port");
}

#[test]
fn a_terminal_that_policy_does_not_name() {
    let (mut world, device) =
        serving_with(250, |_| {}, |service, _| service.terminals = vec![TerminalPattern::Id("meter-0".to_owned())]);
    let other = world.add_device();
    world.give_certificate(other, "own", &Leaf::of(TERMINAL));
    let refused = world.listen(other);
    world.run(A_WHILE);
    assert_eq!(world.devices[other].reason(refused), "forbidden-port");
    let flow = call(&mut world, other);
    turned_away(&world, flow, "no service");
    world.answer(device, 50_002, &Caller::of(TERMINAL));
}

#[test]
fn an_address_that_is_nobodys() {
    let (mut world, _) = serving(251);
    let local = std::net::SocketAddr::new(ip("10.7.1.99"), PORT);
    let peer = crate::world::Peer::client(&world.pki, &Caller::of(TERMINAL));
    let flow = world.call_tcp(local, caller_address(50_001), peer);
    turned_away(&world, flow, "no terminal has this address");
}

#[test]
fn a_world_without_services() {
    let mut world = World::new(252);
    let device = world.add_device();
    world.give_certificate(device, "own", &Leaf::of(TERMINAL));
    let refused = world.listen(device);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "forbidden-port");
    let flow = call(&mut world, device);
    turned_away(&world, flow, "no service");
}
