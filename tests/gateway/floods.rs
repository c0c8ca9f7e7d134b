//! One terminal that asks without end, or many that ask at once: the others are served, and the gateway holds no
//! more than its limits.

use std::time::Duration;

use keyferry::error::Reason;
use keyferry::stats::HandshakeKind;

use crate::world::{A_WHILE, World};

#[test]
fn a_terminal_that_floods_is_held_to_its_quota() {
    let limits = |settings: &mut keyferry::gateway::Settings| {
        settings.handshakes_per_second = 10;
        settings.pending_per_terminal = 32;
    };
    let mut world = World::with(81, limits, |_| {});
    let (flooder, other) = (world.add_device(), world.add_device());
    world.devices[flooder].opens_tcp = false;
    let (mut flood, mut served) = (Vec::new(), Vec::new());
    for number in 0..10_000u16 {
        flood.push(world.connect(flooder, 10_000 + number));
        if number % 500 == 0 {
            served.push(world.connect(other, 40_000 + number / 500));
        }
        world.run(Duration::from_millis(5));
        let view = world.gateway.view();
        assert!(view.offers + view.handshakes <= 32 + 2, "{view:?}");
        let id = &world.devices[flooder].record.id;
        assert!(world.gateway.terminal_view(id, world.now).unwrap().pending <= 32);
    }
    world.run(A_WHILE);
    for request in served {
        world.assert_session(other, request);
    }
    let device = &world.devices[flooder];
    let refused = flood.iter().filter(|id| device.reason(**id) == "quota").count();
    // 50 s at 10 a second, and the burst.
    assert!(device.offers.len() <= 520, "{} offers", device.offers.len());
    assert!(refused >= 9_000, "{refused} refused by quota");
    assert_eq!(world.gateway.stats().requests_refused[&Reason::QUOTA], refused as u64);

    // What was offered lapses, and the flooder may behave again.
    world.run(Duration::from_secs(20));
    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes), (0, 0));
    world.devices[flooder].opens_tcp = true;
    world.establish(flooder, 50_000);
}

#[test]
fn offers_that_are_not_taken_up_lapse() {
    let mut world = World::with(82, |settings| settings.pending_per_terminal = 3, |_| {});
    let device = world.add_device();
    world.devices[device].opens_tcp = false;
    let requests: Vec<_> = (0..5).map(|number| world.connect(device, 40_000 + number)).collect();
    world.run(Duration::from_secs(1));
    assert_eq!(world.gateway.view().offers, 3);
    let refused = requests.iter().filter(|id| world.devices[device].reason(**id) == "quota").count();
    assert_eq!(refused, 2);
    world.run(Duration::from_secs(10));
    let lapsed = requests.iter().filter(|id| world.devices[device].reason(**id) == "not-opened").count();
    assert_eq!(lapsed, 3);
    assert_eq!(world.gateway.view().offers, 0);
    let kind = HandshakeKind { protocol: "tls", role: "client", failure: Some(Reason::NOT_OPENED) };
    assert_eq!(world.gateway.stats().handshakes[&kind], 3);
    // Too late.
    let flow = world.open_tcp("10.7.1.10:40000".parse().unwrap(), crate::world::server_address());
    assert!(world.wires[&flow].reset && world.connects == 0);
    world.devices[device].opens_tcp = true;
    world.establish(device, 40_000);
}

#[test]
fn the_gateway_as_a_whole_has_a_limit() {
    let mut world = World::with(83, |settings| settings.pending = 10, |_| {});
    for device in 0..3 {
        world.add_device();
        world.devices[device].opens_tcp = false;
    }
    let mut requests = Vec::new();
    for number in 0..6 {
        for device in 0..3 {
            requests.push((device, world.connect(device, 40_000 + number)));
        }
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.gateway.view().offers, 10);
    let refused = requests.iter().filter(|(device, id)| world.devices[*device].reason(*id) == "overloaded").count();
    assert_eq!(refused, 8);
    world.run(Duration::from_secs(10));
    world.devices[2].opens_tcp = true;
    world.establish(2, 50_000);
}

/// Handshakes that hang count as much as offers do.
#[test]
fn handshakes_that_hang_hold_their_places_until_the_deadline() {
    let mut world = World::with(84, |settings| settings.pending_per_terminal = 4, |_| {});
    let device = world.add_device();
    let stall = crate::world::PeerBehaviour { stops_after: Some((1, crate::world::Stop::Stall)), ..Default::default() };
    world.peers.insert(crate::world::server_address(), stall);
    for number in 0..4 {
        world.connect(device, 40_000 + number);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.gateway.view().handshakes, 4);
    let fifth = world.connect(device, 40_004);
    world.run(Duration::from_secs(1));
    assert_eq!(world.devices[device].reason(fifth), "quota");
    world.run(Duration::from_secs(9));
    assert_eq!(world.gateway.view().handshakes, 0);
    world.peers.insert(crate::world::server_address(), Default::default());
    world.establish(device, 40_000);
}

/// Lookups that hang count, too.
#[test]
fn lookups_that_hang_hold_their_places() {
    let mut world = World::with(85, |settings| settings.pending_per_terminal = 4, |_| {});
    let device = world.add_device();
    world.resolver_hangs = true;
    let requests: Vec<_> = (0..6).map(|number| world.connect(device, 40_000 + number)).collect();
    world.run(Duration::from_millis(1_500));
    let refused = |world: &World, name| requests.iter().filter(|id| world.devices[device].reason(**id) == name).count();
    assert_eq!(refused(&world, "quota"), 2);
    world.run(Duration::from_millis(1_500));
    assert_eq!(refused(&world, "name-not-found"), 4);
    world.resolver_hangs = false;
    world.establish(device, 40_000);
}
