//! Terminals that do not keep to the protocol of assisted mode: refused by name, without harm to a session that is in
//! order, and never with a key that is not due.

use std::time::Duration;

use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Binding, Handover, KxAnswer, KxRequest, Role, SessionId, Step};
use keyferry_terminal::Session;

use crate::world::{A_WHILE, Peer, PeerBehaviour, World, both_versions, server_address};

fn binding() -> Binding {
    Binding { local: "10.7.1.200:40001".parse().unwrap(), remote: server_address() }
}

fn start() -> KxRequest {
    let connect = Some(both_versions(40_001));
    KxRequest::Start { role: Role::CLIENT, connect, listen: None, binding: None, bytes: Vec::new() }
}

fn piece(session: SessionId, offset: usize, bytes: &[u8]) -> KxRequest {
    let offset = offset as u32;
    KxRequest::Carry { step: Step::AUTHENTICATION, session, offset, bytes: bytes.to_vec(), closed: false }
}

fn key(session: SessionId, length: usize) -> KxRequest {
    KxRequest::Key { session, length: length as u32, binding: binding() }
}

/// A handshake that a rogue has begun with an honest server: the server, and what it said.
struct Dialogue {
    peer: Peer,
    session: SessionId,
    stream: Vec<u8>,
}

impl Dialogue {
    fn begin(world: &mut World, rogue: usize) -> Self {
        let id = world.kx(rogue, &start());
        let KxAnswer { session, send, .. } = world.rogues[rogue].answer(id);
        let behaviour = PeerBehaviour::default();
        let mut peer = Peer::server(&behaviour.config(&world.pki), &behaviour);
        peer.receive(&send);
        let stream = peer.drain();
        Self { peer, session, stream }
    }

    /// Carries all in order; the keys are due then.
    #[track_caller]
    fn finish(&mut self, world: &mut World, rogue: usize) {
        let mut next = Step::START;
        for (number, bytes) in self.stream.chunks(600).enumerate() {
            let id = world.kx(rogue, &piece(self.session, number * 600, bytes));
            let answer = world.rogues[rogue].answer(id);
            self.peer.receive(&answer.send);
            next = answer.next;
        }
        assert_eq!(next, Step::KEY);
    }

    /// Asks for the keys, which must come and fit.
    #[track_caller]
    fn conclude(&mut self, world: &mut World, rogue: usize) {
        let before = world.rogues[rogue].handovers.len();
        world.kx(rogue, &key(self.session, self.stream.len()));
        world.run(A_WHILE);
        let handovers = &world.rogues[rogue].handovers;
        assert_eq!(handovers.len(), before + 1);
        let handover = handovers[before].clone();
        assert_eq!((handover.session, handover.binding), (self.session, binding()));
        assert_talks(handover, &mut self.peer, world);
    }
}

#[track_caller]
fn assert_talks(handover: Handover, peer: &mut Peer, world: &World) {
    let mut session = Session::new(handover, world.now).unwrap();
    let mut records = Vec::new();
    session.seal(world.now, b"up", &mut records).unwrap();
    peer.receive(&records);
    assert!(peer.received.ends_with(b"up"), "{:?}", peer.failure);
}

fn world(seed: u64) -> (World, usize) {
    let mut world = World::new(seed);
    let rogue = world.add_rogue();
    (world, rogue)
}

#[track_caller]
fn refused(world: &mut World, rogue: usize, request: &KxRequest, reason: &str) -> RequestId {
    let before = world.rogues[rogue].handovers.len();
    let id = world.kx(rogue, request);
    assert_eq!(world.rogues[rogue].reason(id), reason);
    world.run(Duration::from_secs(1));
    assert_eq!(world.rogues[rogue].handovers.len(), before, "a key was handed over");
    id
}

#[test]
fn pieces_in_any_order_doubled_and_cut_anywhere() {
    let (mut world, rogue) = world(391);
    let mut dialogue = Dialogue::begin(&mut world, rogue);
    let session = dialogue.session;
    let (length, mut answers) = (dialogue.stream.len(), Vec::new());
    let half = length / 2;
    let cuts =
        [(half, length.min(half + 900)), (half + 100, length), (10, half + 1), (0, 20), (0, 500), (length - 1, length)];
    for (from, to) in cuts {
        let to = to.min(from + 1000);
        let id = world.kx(rogue, &piece(session, from, &dialogue.stream[from..to]));
        answers.push(world.rogues[rogue].answer(id));
    }
    for (number, bytes) in dialogue.stream.chunks(1000).enumerate().rev() {
        let id = world.kx(rogue, &piece(session, number * 1000, bytes));
        answers.push(world.rogues[rogue].answer(id));
    }
    assert_eq!(answers.last().unwrap().next, Step::KEY);
    let sent: Vec<u8> = answers.into_iter().flat_map(|answer| answer.send).collect();
    dialogue.peer.receive(&sent);
    dialogue.conclude(&mut world, rogue);
}

#[test]
fn a_session_that_never_was() {
    let (mut world, rogue) = world(392);
    let mut dialogue = Dialogue::begin(&mut world, rogue);
    let other = SessionId(dialogue.session.0 ^ 1);
    let stream = dialogue.stream.clone();
    refused(&mut world, rogue, &piece(other, 0, &stream[..600]), "stale");
    refused(&mut world, rogue, &key(other, 0), "stale");
    dialogue.finish(&mut world, rogue);
    dialogue.conclude(&mut world, rogue);
}

#[test]
fn the_session_of_another_terminal() {
    let (mut world, rogue) = world(393);
    let thief = world.add_rogue();
    let mut dialogue = Dialogue::begin(&mut world, rogue);
    let (session, length) = (dialogue.session, dialogue.stream.len());
    refused(&mut world, thief, &piece(session, 0, &[0; 100]), "stale");
    let closed = KxRequest::Carry { step: Step::AUTHENTICATION, session, offset: 0, bytes: Vec::new(), closed: true };
    refused(&mut world, thief, &closed, "stale");
    dialogue.finish(&mut world, rogue);
    refused(&mut world, thief, &key(session, length), "stale");
    dialogue.conclude(&mut world, rogue);
    assert!(world.rogues[thief].handovers.is_empty());
    // The number of a session on the path is none of assisted mode's either.
    let device = world.add_device();
    let request = world.establish(device, 40_001);
    let number = SessionId(world.devices[device].keys[&request].session);
    refused(&mut world, thief, &key(number, 0), "stale");
    world.talk(device, request, b"up", b"down");
}

/// A terminal that asks for what is not due is out of step with the gateway: its session ends.
#[test]
fn keys_before_their_time() {
    let (mut world, rogue) = world(394);
    for carried in [0, 100] {
        for asked in [0, 100, 1_000] {
            let dialogue = Dialogue::begin(&mut world, rogue);
            let (session, stream) = (dialogue.session, dialogue.stream.clone());
            world.kx(rogue, &piece(session, 0, &stream[..carried]));
            refused(&mut world, rogue, &key(session, asked), "stale");
            refused(&mut world, rogue, &piece(session, carried, &stream[carried..carried + 500]), "stale");
        }
    }
    assert_eq!(world.gateway.view().handshakes, 0);
    let mut dialogue = Dialogue::begin(&mut world, rogue);
    dialogue.finish(&mut world, rogue);
    dialogue.conclude(&mut world, rogue);
}

#[test]
fn keys_for_another_length_than_was_carried() {
    let (mut world, rogue) = world(395);
    let length = Dialogue::begin(&mut world, rogue).stream.len();
    for wrong in [0, length / 2, length + 1_000, u32::MAX as usize] {
        let mut dialogue = Dialogue::begin(&mut world, rogue);
        dialogue.finish(&mut world, rogue);
        refused(&mut world, rogue, &key(dialogue.session, wrong), "stale");
        refused(&mut world, rogue, &key(dialogue.session, dialogue.stream.len()), "stale");
    }
    assert!(world.rogues[rogue].handovers.is_empty());
}

#[test]
fn keys_for_another_connection_than_was_announced() {
    let (mut world, rogue) = world(403);
    let Binding { local, remote } = binding();
    for (local, remote) in [
        ("10.7.1.200:40002".parse().unwrap(), remote),
        (local, "10.7.2.2:444".parse().unwrap()),
        (local, "10.7.2.3:443".parse().unwrap()),
    ] {
        let mut dialogue = Dialogue::begin(&mut world, rogue);
        dialogue.finish(&mut world, rogue);
        let (session, length) = (dialogue.session, dialogue.stream.len() as u32);
        let request = KxRequest::Key { session, length, binding: Binding { local, remote } };
        refused(&mut world, rogue, &request, "address-not-bound");
        refused(&mut world, rogue, &key(session, length as usize), "stale");
    }
    assert!(world.rogues[rogue].handovers.is_empty());
}

/// However often they are asked for, keys leave once at most.
#[test]
fn keys_twice() {
    let (mut world, rogue) = world(396);
    for side_by_side in [false, true] {
        let before = world.rogues[rogue].handovers.len();
        let mut dialogue = Dialogue::begin(&mut world, rogue);
        dialogue.finish(&mut world, rogue);
        let request = key(dialogue.session, dialogue.stream.len());
        let first = world.post(rogue, &["kf", "kx"], &request.encode()).unwrap();
        if !side_by_side {
            world.run(A_WHILE);
        }
        let second = world.post(rogue, &["kf", "kx"], &request.encode()).unwrap();
        world.run(A_WHILE);
        assert!(world.rogues[rogue].answers[&first].0.is_success(), "{}", world.rogues[rogue].reason(first));
        assert_eq!(world.rogues[rogue].reason(second), "stale");
        refused(&mut world, rogue, &request, "stale");
        refused(&mut world, rogue, &piece(dialogue.session, dialogue.stream.len(), &[0; 10]), "stale");
        let handovers = &world.rogues[rogue].handovers[before..];
        assert!(handovers.len() <= 1 && (side_by_side || handovers.len() == 1));
        if let Some(handover) = handovers.first().cloned() {
            assert_talks(handover, &mut dialogue.peer, &world);
        }
        assert_eq!(world.gateway.view().handshakes, 0);
    }
}

/// What follows the handshake may be carried, too; it comes back with the keys.
#[test]
fn pieces_behind_the_handshake() {
    let (mut world, rogue) = world(397);
    let mut dialogue = Dialogue::begin(&mut world, rogue);
    dialogue.finish(&mut world, rogue);
    dialogue.peer.say(b"hello");
    let more = dialogue.peer.drain();
    assert!(!more.is_empty());
    for (number, bytes) in more.chunks(1000).enumerate() {
        world.kx(rogue, &piece(dialogue.session, dialogue.stream.len() + number * 1000, bytes));
    }
    dialogue.stream.extend_from_slice(&more);
    dialogue.conclude(&mut world, rogue);
    assert_eq!(world.rogues[rogue].handovers[0].prefix, more);
}

#[test]
fn pieces_without_end() {
    let (mut world, rogue) = world(398);
    for offset in [70_000, u32::MAX as usize - 1_000, u32::MAX as usize] {
        let session = Dialogue::begin(&mut world, rogue).session;
        refused(&mut world, rogue, &piece(session, offset, &[0; 1000]), "stale");
    }
    let session = Dialogue::begin(&mut world, rogue).session;
    let mut taken = 0;
    for number in 0..200 {
        let id = world.kx(rogue, &piece(session, 100 + number * 300, &[0; 10]));
        taken += usize::from(world.rogues[rogue].answers[&id].0.is_success());
    }
    assert!(taken <= 64, "{taken}");
    world.run(Duration::from_secs(61));
    assert_eq!(world.gateway.view().handshakes, 0);
}

/// Each piece gives time for the next, but not for ever.
#[test]
fn a_handshake_that_dribbles() {
    let (mut world, rogue) = world(399);
    let dialogue = Dialogue::begin(&mut world, rogue);
    let begun = world.now;
    for number in 0..100 {
        let id = world.kx(rogue, &piece(dialogue.session, number, &dialogue.stream[number..=number]));
        if !world.rogues[rogue].answers[&id].0.is_success() {
            break;
        }
        assert_eq!(world.gateway.view().handshakes, 1);
        world.run(Duration::from_secs(5));
    }
    let lasted = world.now.saturating_duration_since(begun);
    assert!((295..=306).contains(&lasted.as_secs()), "{lasted:?}");
    assert_eq!(world.gateway.view().handshakes, 0);
}

#[test]
fn keys_that_nobody_asks_for() {
    let (mut world, rogue) = world(400);
    let mut dialogue = Dialogue::begin(&mut world, rogue);
    dialogue.finish(&mut world, rogue);
    world.run(Duration::from_secs(61));
    assert_eq!(world.gateway.view().handshakes, 0);
    assert_eq!(world.rogues[rogue].failures.last().unwrap().reason.to_string(), "stale");
    refused(&mut world, rogue, &key(dialogue.session, dialogue.stream.len()), "stale");
}

/// Unknown steps are discarded: what is under way goes on.
#[test]
fn a_step_that_does_not_exist() {
    let (mut world, rogue) = world(401);
    let mut dialogue = Dialogue::begin(&mut world, rogue);
    for step in [4u8, 23] {
        let mut payload = vec![0xa2, 0x00, step, 0x05, 0x1a];
        payload.extend(dialogue.session.0.to_be_bytes());
        let id = world.post(rogue, &["kf", "kx"], &payload).unwrap();
        world.run(A_WHILE);
        assert_eq!(world.rogues[rogue].reason(id), "unsupported");
    }
    dialogue.finish(&mut world, rogue);
    dialogue.conclude(&mut world, rogue);
}

#[test]
fn more_pieces_at_once_than_the_channel_carries() {
    let (mut world, rogue) = world(402);
    let dialogue = Dialogue::begin(&mut world, rogue);
    let mut posted = 0;
    for _ in 0..100 {
        let request = piece(dialogue.session, 1, &[0; 10]).encode();
        posted += usize::from(world.post(rogue, &["kf", "kx"], &request).is_ok());
    }
    world.run(Duration::from_secs(5));
    assert!(posted < 100);
    assert!(world.rogues[rogue].answers.len() >= posted);
    assert_eq!(world.gateway.view().handshakes, 1);
}
