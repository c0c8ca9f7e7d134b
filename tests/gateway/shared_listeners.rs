//! Terminals behind one address: a connection is for the one that listens there.

use keyferry::terminals::TerminalRecord;
use keyferry_parsers::messages::Listen;

use crate::world::{A_WHILE, Caller, Leaf, PORT, TERMINAL, World, caller_address, serving_with};

fn shared(seed: u64, without_request: bool) -> (World, [usize; 2]) {
    let (mut world, _) = serving_with(
        seed,
        |_| {},
        |service, _| {
            service.ports = vec![PORT, PORT + 1];
            service.without_request = without_request;
        },
    );
    let shared = |record: &mut TerminalRecord| record.shared_address = true;
    let both = ["10.99.0.7:5683", "10.99.0.7:5684"].map(|address| {
        let device = world.add_device_at(address.parse().unwrap(), shared);
        world.give_certificate(device, "own", &Leaf::of(TERMINAL));
        world.echo(device);
        world.run(A_WHILE);
        device
    });
    (world, both)
}

#[test]
fn the_one_that_listens_is_meant() {
    let (mut world, [first, second]) = shared(301, false);
    world.listen_as(first, Listen::new(PORT));
    world.listen_as(second, Listen::new(PORT + 1));
    world.run(A_WHILE);
    for (port, device) in [(PORT, first), (PORT + 1, second)] {
        let local = std::net::SocketAddr::new(world.devices[device].address.ip(), port);
        let peer = crate::world::Peer::client(&world.pki, &Caller::of(TERMINAL));
        world.call_tcp(local, caller_address(50_001), peer);
        world.run(A_WHILE);
        assert_eq!(world.devices[device].incoming.len(), 1);
        let session = world.devices[device].incoming[0];
        world.talk(device, session, b"up", b"down");
    }
    assert_eq!(world.devices[first].incoming.len(), 1);
}

/// Who listens first keeps the port: whoever takes it over would get the keys of its neighbour's connections.
#[test]
fn nobody_takes_over_the_port_of_a_neighbour() {
    for order in [[0, 1], [1, 0]] {
        let (mut world, both) = shared(303, false);
        let [honest, rogue] = order.map(|number: usize| both[number]);
        world.listen_as(honest, Listen::new(PORT));
        world.run(A_WHILE);
        let refused = world.listen_as(rogue, Listen::new(PORT));
        world.run(A_WHILE);
        assert_eq!(world.devices[rogue].reason(refused), "source-port-in-use");
        world.call(honest, 50_001, &Caller::of(TERMINAL));
        world.run(A_WHILE);
        assert!(world.devices[rogue].incoming.is_empty());
        assert_eq!(world.devices[honest].incoming.len(), 1);
    }
}

#[test]
fn where_nobody_listens_nobody_is_guessed() {
    let (mut world, [first, _]) = shared(302, true);
    let flow = world.call(first, 50_001, &Caller::of(TERMINAL));
    assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
    assert_eq!(world.gateway.stats().flows_refused["several terminals may share this address"], 1);
}
