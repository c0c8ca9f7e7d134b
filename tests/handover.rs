//! The main job in memory: a terminal asks, the gateway does the handshake, the terminal talks to the server.

mod common;

use std::time::Duration;

use common::World;
use keyferry_terminal::tls13::Event;

#[test]
fn a_terminal_talks_to_an_unmodified_server() {
    let mut world = World::new(1);
    let device = world.add_device();
    let request = world.connect(device, 40_001);
    world.run(Duration::from_secs(2));
    for (up, at, bytes) in &world.recorded { eprintln!("{} {at} {}", if *up {"->"} else {"<-"}, bytes.len()); }
    eprintln!("{:?} {:?} {:?}", world.gateway.stats().channel_refused, world.gateway.stats().handshakes, world.gateway.stats().flows_refused);
    eprintln!("{:?} {:?} wires {}", world.gateway.view(), world.gateway.stats().requests_refused, world.wires.len());
    assert_eq!(world.devices[device].reason(request), "no failure");

    let now = world.now;
    let mut session = world.devices[device].sessions.remove(&request).expect("a session");
    let mut records = Vec::new();
    session.seal(now, b"GET / HTTP/1.1\r\n\r\n", &mut records).unwrap();
    let peer = world.wire_from(40_001).peer.as_mut().unwrap();
    peer.receive(&records);
    assert_eq!(peer.received, b"GET / HTTP/1.1\r\n\r\n");
    peer.say(b"HTTP/1.1 200 OK\r\n\r\n");
    let answer = peer.drain();
    let mut input = answer.as_slice();
    let mut heard = Vec::new();
    while let Some(event) = session.open(now, &mut input).unwrap() {
        if let Event::Data(data) = event {
            heard.extend_from_slice(data);
        }
    }
    assert_eq!(heard, b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(world.gateway.stats().sessions_delivered, 1);
}
