//! A terminal that says anything on `/kf/kx`: the gateway goes on, others are served, and no key leaves for a session
//! whose peer did not prove itself.

use std::time::Duration;

use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Binding, KxAnswer, KxRequest, Listen, Role, SessionId, Step};
use keyferry_parsers::tls::ProtocolVersion;
use keyferry_terminal::Session;

use crate::world::{
    A_WHILE, Caller, Leaf, PORT, Peer, PeerBehaviour, TERMINAL, World, both_versions, caller_address, server_address,
    serving_with, trust,
};

/// A handshake that the rogue plays both ends of: its peer has no certificate that counts.
struct Forged {
    session: SessionId,
    peer: Peer,
    stream: Vec<u8>,
}

struct Hostile {
    rogue: usize,
    /// Honest starts whose answers are awaited, with the peer that will hear them.
    starts: Vec<(RequestId, Peer, Vec<u8>)>,
    carried: Vec<(RequestId, SessionId)>,
    live: Vec<Forged>,
    /// A session of somebody else's.
    foreign: SessionId,
}

fn binding(world: &World, rogue: usize, role: Role) -> Binding {
    let own = world.rogues[rogue].address.ip();
    match role {
        Role::SERVER => Binding { local: (own, PORT).into(), remote: caller_address(50_001) },
        _ => Binding { local: (own, 40_001).into(), remote: server_address() },
    }
}

impl Hostile {
    fn request(&mut self, world: &mut World) -> (KxRequest, Option<(Peer, Vec<u8>)>) {
        let kind = world.roll(10);
        if kind == 0 || self.live.is_empty() {
            return self.start_client(world);
        }
        if kind == 1 {
            return self.start_server(world);
        }
        let index = world.roll(self.live.len() as u32) as usize;
        let foreign = world.roll(20) == 0;
        let offset = world.roll(4) * 500;
        let step = if world.roll(2) == 0 { Step::AUTHENTICATION } else { Step::KEY_GENERATION };
        let forged = &self.live[index];
        let session = if foreign { self.foreign } else { forged.session };
        let length = forged.stream.len() as u32;
        if kind == 2 {
            let role = if offset == 0 { Role::SERVER } else { Role::CLIENT };
            return (KxRequest::Key { session, length, binding: binding(world, self.rogue, role) }, None);
        }
        let from = (offset as usize).min(forged.stream.len());
        let to = (from + 1000).min(forged.stream.len());
        let bytes = forged.stream[from..to].to_vec();
        (KxRequest::Carry { step, session, offset: from as u32, bytes, closed: kind == 9 && foreign }, None)
    }

    fn start_client(&self, world: &mut World) -> (KxRequest, Option<(Peer, Vec<u8>)>) {
        let behaviour = PeerBehaviour { stranger: true, ..Default::default() };
        let peer = Peer::server(&behaviour.config(&world.pki), &behaviour);
        let connect = Some(both_versions(40_001));
        let request = KxRequest::Start { role: Role::CLIENT, connect, listen: None, binding: None, bytes: Vec::new() };
        (request, Some((peer, Vec::new())))
    }

    fn start_server(&self, world: &mut World) -> (KxRequest, Option<(Peer, Vec<u8>)>) {
        let stranger = Leaf { stranger: true, ..Leaf::of("control.example") };
        let certificate = (world.roll(2) == 0).then_some(stranger);
        let mut peer = Peer::client(&world.pki, &Caller { certificate, ..Caller::of(TERMINAL) });
        let bytes = peer.drain();
        let listen = Some(Listen { oldest_version: ProtocolVersion::TLS_1_2, ..Listen::new(PORT) });
        let binding = Some(binding(world, self.rogue, Role::SERVER));
        let request = KxRequest::Start { role: Role::SERVER, connect: None, listen, binding, bytes: bytes.clone() };
        (request, Some((peer, bytes)))
    }

    fn send(&mut self, world: &mut World) -> bool {
        let (request, peer) = self.request(world);
        let session = match &request {
            KxRequest::Carry { session, .. } => Some(*session),
            _ => None,
        };
        let mut payload = request.encode().to_vec();
        let mutated = world.roll(10) < 6;
        if mutated {
            mutate(world, &mut payload);
        }
        let Ok(id) = world.post(self.rogue, &["kf", "kx"], &payload) else { return false };
        if let (false, Some((peer, stream))) = (mutated, peer) {
            self.starts.push((id, peer, stream));
        }
        self.carried.extend(session.map(|session| (id, session)));
        true
    }

    /// Hears what came: streams go on, as far as the gateway lets them.
    fn hear(&mut self, world: &World) {
        let answers = &world.rogues[self.rogue].answers;
        let (answered, waiting) =
            std::mem::take(&mut self.starts).into_iter().partition(|(id, ..)| answers.contains_key(id));
        self.starts = waiting;
        let answered: Vec<(RequestId, Peer, Vec<u8>)> = answered;
        for (id, mut peer, mut stream) in answered {
            let (code, payload) = &answers[&id];
            if let (true, Ok(answer)) = (code.is_success(), KxAnswer::decode(payload)) {
                peer.receive(&answer.send);
                stream.extend(peer.drain());
                self.live.push(Forged { session: answer.session, peer, stream });
            }
        }
        for (id, session) in std::mem::take(&mut self.carried) {
            let Some((code, payload)) = answers.get(&id) else {
                self.carried.push((id, session));
                continue;
            };
            let Some(forged) = self.live.iter_mut().find(|forged| forged.session == session) else { continue };
            if let (true, Ok(answer)) = (code.is_success(), KxAnswer::decode(payload)) {
                forged.peer.receive(&answer.send);
                forged.stream.extend(forged.peer.drain());
            }
        }
        if self.live.len() > 20 {
            self.live.drain(..10);
        }
    }
}

fn mutate(world: &mut World, payload: &mut Vec<u8>) {
    for _ in 0..=world.roll(4) {
        let at = world.roll(payload.len().max(1) as u32) as usize;
        let byte = world.roll(256) as u8;
        match world.roll(5) {
            0 => payload.truncate(at),
            1 => payload.insert(at.min(payload.len()), byte),
            2 if at < payload.len() => drop(payload.remove(at)),
            // The first bytes have most of the meaning.
            3 => payload.iter_mut().take(8).skip(at % 8).take(1).for_each(|old| *old = byte),
            _ => payload.iter_mut().skip(at).take(1).for_each(|old| *old ^= 1 << (byte % 8)),
        }
    }
}

#[test]
fn ten_thousand_requests() {
    let (mut world, honest) =
        serving_with(411, |_| {}, |service, pki| service.clients = Some(trust(pki, "clients").into()));
    let rogue = world.add_rogue();
    world.give_rogue_certificate(rogue, &Leaf::of(TERMINAL));
    let waiting = world.assist(honest, 39_999);
    world.run_until(A_WHILE, |world| world.devices[honest].assists[&waiting].session.is_some());
    let foreign = world.devices[honest].assists[&waiting].session.unwrap();
    let mut hostile = Hostile { rogue, starts: Vec::new(), carried: Vec::new(), live: Vec::new(), foreign };
    let mut sent = 0;
    while sent < 10_000 {
        if hostile.send(&mut world) {
            sent += 1;
        } else {
            world.run(Duration::from_millis(20));
        }
        world.run(Duration::from_millis(3));
        hostile.hear(&world);
        if sent % 1_000 == 0 {
            let port = 40_000 + (sent / 1_000) as u16;
            let request = world.establish_assisted(honest, port);
            world.talk(honest, request, b"up", b"down");
            world.establish(honest, port + 1_000);
        }
    }
    world.assert_session(honest, waiting);
    world.run(Duration::from_secs(100));
    assert!(world.rogues[rogue].handovers.is_empty(), "a key for a session whose peer proved nothing");
    assert_eq!(world.gateway.view().handshakes, 0);
    for id in [&world.rogues[rogue].record.id, &world.devices[honest].record.id] {
        assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0);
    }
    let answers = world.rogues[rogue].answers.values();
    let consented = answers.clone().filter(|(code, _)| code.is_success()).count();
    let refused = answers.len() - consented;
    assert!(consented > 1_000 && refused > 1_000, "{consented} consented, {refused} refused");
    println!("{consented} consented, {refused} refused: {:?}", world.gateway.stats().requests_refused);
}

/// The peer is honest, the terminal alters one byte of what it says. Keys come of it only where that byte meant
/// nothing, and then they are the right ones.
#[test]
fn every_tenth_byte_of_an_honest_server_altered() {
    let mut world = World::new(412);
    let rogue = world.add_rogue();
    let behaviour = PeerBehaviour::default();
    let config = behaviour.config(&world.pki);
    let mut length = usize::MAX;
    let (mut at, mut refused) = (0, 0);
    while at < length {
        let connect = Some(both_versions(40_001));
        let start = KxRequest::Start { role: Role::CLIENT, connect, listen: None, binding: None, bytes: Vec::new() };
        let id = world.kx(rogue, &start);
        let KxAnswer { session, send, .. } = world.rogues[rogue].answer(id);
        let mut peer = Peer::server(&config, &behaviour);
        peer.receive(&send);
        let mut stream = peer.drain();
        length = stream.len();
        stream[at] ^= 1 << (at % 8);
        for (number, bytes) in stream.chunks(1000).enumerate() {
            let offset = (number * 1000) as u32;
            let request =
                KxRequest::Carry { step: Step::AUTHENTICATION, session, offset, bytes: bytes.to_vec(), closed: false };
            let id = world.kx(rogue, &request);
            let (code, payload) = &world.rogues[rogue].answers[&id];
            if let (true, Ok(answer)) = (code.is_success(), KxAnswer::decode(payload)) {
                peer.receive(&answer.send);
            }
        }
        let before = world.rogues[rogue].handovers.len();
        let binding = binding(&world, rogue, Role::CLIENT);
        world.kx(rogue, &KxRequest::Key { session, length: length as u32, binding });
        world.run(Duration::from_millis(100));
        match world.rogues[rogue].handovers.get(before).cloned() {
            None => refused += 1,
            Some(handover) => {
                let mut keys = Session::new(handover, world.now).unwrap();
                let mut records = Vec::new();
                keys.seal(world.now, b"up", &mut records).unwrap();
                peer.receive(&records);
                assert_eq!(peer.received, b"up", "byte {at}: keys that do not fit");
            }
        }
        at += 10;
    }
    assert!(refused > length / 10 - 10, "{refused} of {} were refused", length / 10);
}
