//! A terminal that is revoked serves nobody any more: sessions, handshakes and ports end at once.

use keyferry::gateway::Input;

use crate::world::{A_WHILE, Caller, Stop, TERMINAL, World, serving};

fn revoke(world: &mut World, device: usize) {
    let id = world.devices[device].record.id.clone();
    world.tell(Input::Revoke(id));
}

#[test]
fn sessions_end() {
    let (mut world, device) = serving(291);
    let session = world.answer(device, 50_001, &Caller::of(TERMINAL));
    revoke(&mut world, device);
    assert!(world.wire(device, session).reset);
    assert_eq!(world.gateway.view().sessions, 0);
}

#[test]
fn handshakes_end_and_give_their_places_back() {
    let (mut world, device) = serving(292);
    let record = world.devices[device].record.clone();
    // At every stage: before the hello, in the handshake, with the keys on their way.
    for after in 0..4 {
        let caller = Caller { stops_after: Some((after, Stop::Stall)), ..Caller::of(TERMINAL) };
        for port in 0..8 {
            world.call(device, 50_000 + 100 * after as u16 + port, &caller);
        }
        let open: Vec<_> = world.wires.iter().filter(|(_, wire)| !wire.reset).map(|(flow, _)| *flow).collect();
        assert_eq!(open.len(), 8);
        revoke(&mut world, device);
        assert!(open.iter().all(|flow| world.wires[flow].reset));
        assert_eq!(world.gateway.view().handshakes, 0);
        world.run(A_WHILE);
        // Those that were under way with the keys arrive; no others leave.
        assert!(world.devices[device].keys.is_empty() || after == 3);
        assert_eq!(world.gateway.stats().sessions_delivered, 0);
        // Admitted anew, the terminal is a new one to the gateway.
        let key = keyferry_channel::ChannelKey::from_bytes([0x40 + after as u8; 32]);
        let mut record = record.clone();
        record.kid = keyferry_channel::Id::try_from([7, after as u8].as_slice()).unwrap();
        let state = Box::new(keyferry_channel::State::new(key.clone()));
        world.tell(Input::Admit { record: Box::new(record.clone()), state });
        world.replace_device(device, record, key);
        world.give_certificate(device, "own", &crate::world::Leaf::of(TERMINAL));
        world.listen(device);
        world.run(A_WHILE);
    }
    world.answer(device, 60_000, &Caller::of(TERMINAL));
}

#[test]
fn nobody_is_let_through_afterwards() {
    let (mut world, device) = serving(293);
    revoke(&mut world, device);
    let flow = world.call(device, 50_001, &Caller::of(TERMINAL));
    assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
    assert_eq!(world.gateway.stats().flows_refused["no terminal has this address"], 1);
    // What its library still announces is not heard.
    world.listen_as(device, keyferry_parsers::messages::Listen::new(crate::world::PORT + 1));
    world.run(A_WHILE);
    let flow = world.call(device, 50_002, &Caller::of(TERMINAL));
    assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
}
