//! TLS 1.3 tickets: the terminal sends them back, and the gateway's next handshake for it is a short one. For nobody
//! else, and not once certificates may be worth something else.

use std::time::Duration;

use keyferry::error::Reason;
use keyferry::gateway::Input;
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{SessionId, Ticket};

use crate::world::{A_WHILE, PeerBehaviour, World, server_address};

fn resuming(seed: u64) -> (World, usize) {
    let mut world = World::with(seed, |_| {}, |rule| rule.resumption = true);
    let device = world.add_device();
    (world, device)
}

/// A session whose ticket goes back to the gateway.
#[track_caller]
fn first(world: &mut World, device: usize, port: u16) -> RequestId {
    let request = world.establish(device, port);
    assert!(!resumed(world, device, request));
    assert!(world.devices[device].keys[&request].resumable);
    world.talk(device, request, b"up", b"down");
    assert!(world.return_tickets(device) > 0, "no ticket came");
    world.run(A_WHILE);
    request
}

fn resumed(world: &mut World, device: usize, request: RequestId) -> bool {
    world.wire(device, request).peer.as_ref().unwrap().resumed()
}

#[test]
fn the_next_session_is_resumed() {
    let (mut world, device) = resuming(331);
    let request = first(&mut world, device, 40_001);
    let second = world.establish(device, 40_002);
    assert!(resumed(&mut world, device, second), "the server made a whole handshake");
    world.talk(device, second, b"up", b"down");
    world.talk(device, request, b"up", b"down");
    let (old, new) = (&world.devices[device].keys[&request], &world.devices[device].keys[&second]);
    assert_eq!((old.method, &old.peer), (new.method, &new.peer));
    assert!(old.tx_secret != new.tx_secret);
    // Tickets of a resumed session lead on.
    world.return_tickets(device);
    world.run(A_WHILE);
    let third = world.establish(device, 40_003);
    assert!(resumed(&mut world, device, third));
}

#[test]
fn an_assisted_session_is_resumed_too() {
    let (mut world, device) = resuming(332);
    first(&mut world, device, 40_001);
    let second = world.establish_assisted(device, 40_002);
    assert!(resumed(&mut world, device, second));
    world.talk(device, second, b"up", b"down");
    world.return_tickets(device);
    world.run(A_WHILE);
    let third = world.establish(device, 40_003);
    assert!(resumed(&mut world, device, third));
}

#[test]
fn without_the_rule_or_the_ticket_nothing_is() {
    let mut world = World::new(333);
    let device = world.add_device();
    let request = world.establish(device, 40_001);
    assert!(!world.devices[device].keys[&request].resumable);
    world.talk(device, request, b"up", b"down");
    assert!(world.devices[device].tickets.is_empty());

    let (mut world, device) = resuming(334);
    let request = world.establish(device, 40_001);
    world.talk(device, request, b"up", b"down");
    let second = world.establish(device, 40_002);
    assert!(!resumed(&mut world, device, second));
}

#[test]
fn another_terminal_is_not_resumed() {
    let (mut world, device) = resuming(335);
    first(&mut world, device, 40_001);
    let other = world.add_device();
    let request = world.establish(other, 40_001);
    assert!(!resumed(&mut world, other, request));
}

#[test]
fn a_terminal_that_was_revoked_and_admitted_anew_is_not_resumed() {
    let (mut world, device) = resuming(336);
    first(&mut world, device, 40_001);
    let mut record = world.devices[device].record.clone();
    world.tell(Input::Revoke(record.id.clone()));
    let key = keyferry_channel::ChannelKey::from_bytes([0x77; 32]);
    record.kid = keyferry_channel::Id::try_from([9, 9].as_slice()).unwrap();
    let state = Box::new(keyferry_channel::State::new(key.clone()));
    world.tell(Input::Admit { record: Box::new(record.clone()), state });
    let device = world.replace_device(device, record, key);
    let request = world.establish(device, 40_002);
    assert!(!resumed(&mut world, device, request));
}

#[test]
fn with_new_revocation_lists_every_peer_proves_itself_anew() {
    let (mut world, device) = resuming(337);
    let request = first(&mut world, device, 40_001);
    let list = world.pki.revocation_list(&[PeerBehaviour::default().serial], 2040);
    world.tell(Input::RevocationLists { trust: "lab".to_owned(), lists: vec![list] });
    let refused = world.connect(device, 40_002);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "certificate-revoked");
    // Nor does a ticket help that comes later, of a session from before.
    let list = world.pki.revocation_list(&[], 2040);
    world.tell(Input::RevocationLists { trust: "lab".to_owned(), lists: vec![list] });
    let refused = world.gateway.stats().requests_refused.get(&Reason::STALE).copied();
    world.talk(device, request, b"up", b"down");
    let body = vec![0; 40];
    let session = SessionId(world.devices[device].keys[&request].session);
    world.devices[device].tickets.push((session, body));
    world.return_tickets(device);
    world.run(A_WHILE);
    assert_eq!((refused, world.gateway.stats().requests_refused.get(&Reason::STALE)), (None, Some(&1)));
    let whole = world.establish(device, 40_003);
    assert!(!resumed(&mut world, device, whole));
}

#[test]
fn a_restarted_gateway_knows_no_tickets() {
    let (mut world, device) = resuming(338);
    first(&mut world, device, 40_001);
    world.restart_gateway();
    let request = world.establish(device, 40_002);
    assert!(!resumed(&mut world, device, request));
}

/// A ticket is used once, and not after its time.
#[test]
fn tickets_do_not_live_for_ever() {
    let (mut world, device) = resuming(339);
    first(&mut world, device, 40_001);
    world.run(Duration::from_secs(8 * 86_400));
    let request = world.establish(device, 40_002);
    assert!(!resumed(&mut world, device, request), "seven days are the most that TLS allows");
}

#[test]
fn a_peer_that_forgot_makes_a_whole_handshake() {
    let (mut world, device) = resuming(340);
    first(&mut world, device, 40_001);
    // Another server at the same place, with a certificate of its own.
    let other = PeerBehaviour { serial: 4712, ..Default::default() };
    world.peers.insert(server_address(), other);
    let request = world.establish(device, 40_002);
    assert!(!resumed(&mut world, device, request));
    world.talk(device, request, b"up", b"down");
}

#[test]
fn what_is_no_ticket_of_the_terminals_own_is_refused() {
    let (mut world, device) = resuming(341);
    let request = first(&mut world, device, 40_001);
    let session = world.devices[device].keys[&request].session;
    let rogue = world.add_rogue();
    let ticket = |session: u32, body: &[u8]| Ticket { session: SessionId(session), body: body.to_vec() }.encode();
    // Another terminal's session, and one that never was.
    for number in [session, session ^ 1] {
        let id = world.post(rogue, &["kf", "ticket"], &ticket(number, &[0; 40])).unwrap();
        world.run(A_WHILE);
        assert_eq!(world.rogues[rogue].reason(id), "stale");
    }
    let id = world.post(rogue, &["kf", "ticket"], b"\xa0").unwrap();
    world.run(A_WHILE);
    assert_eq!(world.rogues[rogue].reason(id), "malformed-request");
    let second = world.establish(device, 40_002);
    assert!(resumed(&mut world, device, second));
}
