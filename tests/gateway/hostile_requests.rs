//! A terminal that says anything on `/kf/listen`, `/kf/ticket` and `/kf/connect`: refused by name or taken at its word,
//! and nobody else notices.

use std::time::Duration;

use keyferry_parsers::messages::{Listen, SessionId, Ticket};

use crate::world::{A_WHILE, Caller, Leaf, PORT, TERMINAL, World, both_versions, serving};

fn mutate(world: &mut World, payload: &mut Vec<u8>) {
    for _ in 0..=world.roll(4) {
        let at = world.roll(payload.len().max(1) as u32) as usize;
        let byte = world.roll(256) as u8;
        match world.roll(4) {
            0 => payload.truncate(at),
            1 => payload.insert(at.min(payload.len()), byte),
            2 if at < payload.len() => drop(payload.remove(at)),
            _ => payload.iter_mut().skip(at).take(1).for_each(|old| *old ^= 1 << (byte % 8)),
        }
    }
}

#[test]
fn five_thousand_requests() {
    let (mut world, honest) = serving(431);
    let rogue = world.add_rogue();
    world.give_rogue_certificate(rogue, &Leaf::of(TERMINAL));
    let mut sent = 0;
    while sent < 5_000 {
        let seconds = world.roll(1_000);
        let listen = Listen { seconds, alpn: vec!["h2".to_owned()], ..Listen::new(PORT) };
        let ticket = Ticket { session: SessionId(world.roll(u32::MAX)), body: vec![7; 50] };
        let (resource, mut payload) = match world.roll(3) {
            0 => ("listen", listen.encode().to_vec()),
            1 => ("ticket", ticket.encode().to_vec()),
            _ => ("connect", both_versions(40_001).encode().to_vec()),
        };
        if world.roll(10) < 8 {
            mutate(&mut world, &mut payload);
        }
        match world.post(rogue, &["kf", resource], &payload) {
            Ok(_) => sent += 1,
            Err(_) => world.run(Duration::from_millis(20)),
        }
        world.run(Duration::from_millis(2));
        if sent % 1_000 == 0 {
            let port = (sent / 1_000) as u16;
            world.answer(honest, 50_000 + port, &Caller::of(TERMINAL));
            world.establish(honest, 40_000 + port);
        }
    }
    world.run(Duration::from_secs(20));
    assert!(world.rogues[rogue].handovers.is_empty());
    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes), (0, 0));
    let answers = world.rogues[rogue].answers.values();
    let consented = answers.clone().filter(|(code, _)| code.is_success()).count();
    let refused = answers.len() - consented;
    assert!(consented > 500 && refused > 500, "{consented} consented, {refused} refused");
    world.run(A_WHILE);
    world.answer(honest, 51_000, &Caller::of(TERMINAL));
}
