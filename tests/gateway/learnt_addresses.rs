//! A terminal without configured addresses is where its channel is heard, once it has shown that it is there.

use std::net::SocketAddr;
use std::time::Duration;

use keyferry::error::Reason;
use keyferry::gateway::Input;

use crate::world::{A_WHILE, Datagram, World, from, ip};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn add_roaming(world: &mut World, address: &str) -> usize {
    world.add_device_at(at(address), |_| {})
}

/// Where each terminal is bound.
fn bound(world: &World) -> Vec<String> {
    world.bound.iter().map(|(terminal, address)| format!("{terminal} {address}")).collect()
}

#[test]
fn an_address_is_learnt_and_left() {
    let mut world = World::new(121);
    let device = add_roaming(&mut world, "10.99.0.7:5683");
    assert!(world.bound.is_empty());
    let request = world.establish(device, 40_001);
    assert_eq!(bound(&world), ["meter-0 10.99.0.7"]);
    assert_eq!(world.devices[device].keys[&request].local, at("10.99.0.7:40001"));

    world.devices[device].address = at("10.99.0.8:7777");
    let request = world.establish(device, 40_002);
    assert_eq!(bound(&world), ["meter-0 10.99.0.8"]);
    world.talk(device, request, b"up", b"down");

    // From its former address nothing is served.
    let flow = world.open_tcp(at("10.99.0.7:40003"), crate::world::server_address());
    assert!(world.wires[&flow].reset);
}

/// Whoever sends a genuine message from an address that is not the terminal's gets a challenge at most, and no
/// more bytes than it sent.
#[test]
fn an_address_that_was_not_proved() {
    let mut world = World::new(122);
    let device = add_roaming(&mut world, "10.99.0.7:5683");
    world.establish(device, 40_001);
    // An attacker on the path takes requests away and sends them from elsewhere.
    let elsewhere = from(at("10.99.0.66:6666"));
    world.link.loss_percent = 100;
    for number in 0..20 {
        let count = world.recorded.len();
        world.connect(device, 41_000 + number);
        let genuine = world.recorded[count].bytes.clone();
        let count = world.recorded.len();
        world.tell(Input::Datagram { path: elsewhere, bytes: genuine.clone() });
        world.tell(Input::Datagram { path: elsewhere, bytes: genuine.clone() });
        for answer in &world.recorded[count..] {
            assert!(answer.path == elsewhere && answer.bytes.len() <= genuine.len());
            let challenge = Datagram::parse(&answer.bytes).unwrap();
            assert!(!challenge.is_request && !challenge.partial_iv.is_empty());
        }
        assert_eq!(bound(&world), ["meter-0 10.99.0.7"]);
        assert_eq!((world.gateway.view().offers, world.connects), (0, 1));
        world.run(Duration::from_secs(10));
    }
    world.link.loss_percent = 0;
    world.run(Duration::from_secs(100));
    world.establish(device, 42_000);
}

/// The same while the gateway has a hand-over to repeat and the key advances: those go to the terminal.
#[test]
fn what_the_gateway_says_by_itself_goes_where_the_terminal_was_heard() {
    for wait in (0..40).map(|step| Duration::from_millis(1_900 + 30 * step)) {
        let mut world = World::new(123);
        let device = add_roaming(&mut world, "10.99.0.7:5683");
        world.establish(device, 40_001);
        world.connect(device, 40_002);
        world.run_until(A_WHILE, |world| world.devices[device].flows.len() == 2);
        // The hand-over got lost, and is due again while a datagram from elsewhere is in hand.
        world.link.loss_percent = 100;
        world.run(Duration::from_millis(1));
        let count = world.recorded.len();
        world.now = world.now + wait;
        world.echo(device);
        let genuine = world.recorded.last().unwrap().bytes.clone();
        let elsewhere = from(at("10.99.0.66:6666"));
        world.tell(Input::Datagram { path: elsewhere, bytes: genuine.clone() });
        world.tell(Input::Datagram { path: elsewhere, bytes: vec![0x42; 30] });
        for answer in world.recorded[count..].iter().filter(|it| !it.to_gateway && it.path == elsewhere) {
            let datagram = Datagram::parse(&answer.bytes).unwrap();
            assert!(!datagram.is_request, "a request of the gateway went to a stranger after {wait:?}");
            assert!(answer.bytes.len() <= genuine.len());
        }
    }
}

#[test]
fn the_address_of_another_terminal_is_refused() {
    let mut world = World::new(124);
    let fixed = world.add_device_at(at("10.99.0.5:5683"), |record| record.addresses = vec![ip("10.99.0.5")]);
    let first = add_roaming(&mut world, "10.99.0.7:5683");
    let thief = add_roaming(&mut world, "10.99.0.8:5683");
    world.establish(fixed, 40_001);
    world.establish(first, 40_001);
    for taken in ["10.99.0.5:7777", "10.99.0.7:7777"] {
        world.devices[thief].address = at(taken);
        let request = world.connect(thief, 40_002);
        world.run(A_WHILE);
        assert_eq!(world.devices[thief].reason(request), Reason::ADDRESS_NOT_BOUND.to_string());
        assert_eq!(bound(&world), ["meter-1 10.99.0.7"]);
    }
    assert!(world.gateway.stats().channel_refused["address of another terminal"] > 0);
    for device in [fixed, first] {
        let request = world.establish(device, 40_003);
        world.talk(device, request, b"up", b"down");
    }
}

/// An address that its terminal has not used for long can be another's; then it is the former one's no longer,
/// wherever that one turns up.
#[test]
fn an_address_changes_hands() {
    let mut world = World::new(125);
    let first = add_roaming(&mut world, "10.99.0.7:5683");
    let second = add_roaming(&mut world, "10.99.0.8:5683");
    world.establish(first, 40_001);
    world.run(Duration::from_secs(601));
    world.devices[second].address = at("10.99.0.7:5684");
    world.establish(second, 40_002);
    assert_eq!(bound(&world), ["meter-1 10.99.0.7"]);

    // It returns with another address: the second keeps what it has.
    world.devices[first].address = at("10.99.0.9:5683");
    world.establish(first, 40_003);
    assert_eq!(bound(&world), ["meter-0 10.99.0.9", "meter-1 10.99.0.7"]);
    let id = world.devices[first].record.id.clone();
    world.tell(Input::Revoke(id));
    assert_eq!(bound(&world), ["meter-1 10.99.0.7"]);
    let request = world.establish(second, 40_004);
    world.talk(second, request, b"up", b"down");
}

#[test]
fn the_former_holder_is_revoked() {
    let mut world = World::new(126);
    let first = add_roaming(&mut world, "10.99.0.7:5683");
    let second = add_roaming(&mut world, "10.99.0.8:5683");
    world.establish(first, 40_001);
    world.run(Duration::from_secs(601));
    world.devices[second].address = at("10.99.0.7:5684");
    world.establish(second, 40_002);
    let id = world.devices[first].record.id.clone();
    world.tell(Input::Revoke(id));
    assert_eq!(bound(&world), ["meter-1 10.99.0.7"]);
}

#[test]
fn nobody_is_led_to_a_learnt_address() {
    let mut world = World::new(127);
    let device = add_roaming(&mut world, "10.99.0.7:5683");
    let other = add_roaming(&mut world, "10.99.0.8:5683");
    world.establish(device, 40_001);
    world.names.insert(crate::world::SERVER.to_owned(), vec![ip("10.99.0.7")]);
    let request = world.connect(other, 40_001);
    world.run(A_WHILE);
    assert_eq!(world.devices[other].reason(request), Reason::FORBIDDEN_ADDRESS.to_string());
}

/// The packet rules know addresses, not terminals: one neighbour's leaving must not cut off the other.
#[test]
fn neighbours_behind_one_address_do_not_cut_each_other_off() {
    for leaves_by_moving in [true, false] {
        let mut world = World::new(127);
        let stays = world.add_device_at(at("10.99.0.5:5001"), |record| record.shared_address = true);
        let leaves = world.add_device_at(at("10.99.0.5:5002"), |record| record.shared_address = true);
        world.establish(stays, 40_001);
        world.establish(leaves, 40_002);
        if leaves_by_moving {
            world.devices[leaves].address = at("10.99.0.6:5002");
            world.establish(leaves, 40_003);
        } else {
            world.tell(Input::Revoke(world.devices[leaves].record.id.clone()));
        }
        assert!(world.kernel.contains(&ip("10.99.0.5")));
        world.establish(stays, 40_004);
        world.tell(Input::Revoke(world.devices[stays].record.id.clone()));
        assert!(!world.kernel.contains(&ip("10.99.0.5")));
    }
}

#[test]
fn a_terminal_cannot_keep_the_packet_rules_busy() {
    let mut world = World::new(128);
    let device = add_roaming(&mut world, "10.99.0.7:5683");
    world.establish(device, 40_001);
    for number in 0..50 {
        world.devices[device].address = at(&format!("10.99.0.{}:5683", 8 + number % 2));
        world.echo(device);
        world.run(Duration::from_millis(100));
    }
    assert!(world.gateway.stats().channel_refused["address changes too often"] >= 10);
    world.run(Duration::from_secs(11));
    world.establish(device, 40_002);
}
