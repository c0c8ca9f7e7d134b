//! What stands by itself: echo, tickets, datagrams of others.

use super::*;
use keyferry_parsers::messages::Ticket;

#[test]
fn echo_works_both_ways() {
    let mut world = World::new(4, Box::new(|_, payload| Some((Code::CONTENT, Zeroizing::new(payload.to_vec())))));
    let echo = Echo(vec![1, 2, 3]);
    assert_eq!(world.push("echo", echo.encode()), (Code::CHANGED, echo.encode().to_vec()));
    world.input(Input::Echo { id: RequestId(1), echo });
    assert_eq!(world.told(), ["echoed 1"]);
}

#[test]
fn an_altered_echo_is_no_echo() {
    let mut world = World::new(4, Box::new(|_, _| Some((Code::CONTENT, Echo(vec![9]).encode()))));
    world.input(Input::Echo { id: RequestId(1), echo: Echo(vec![1]) });
    assert!(world.told()[0].starts_with("failed 1"));
}

#[test]
fn a_ticket_goes_to_the_gateway() {
    let (tell, heard) = std::sync::mpsc::channel();
    let answers = move |path: &str, payload: &[u8]| {
        tell.send((path.to_string(), payload.to_vec())).unwrap();
        Some((Code::CHANGED, Zeroizing::default()))
    };
    let mut world = World::new(1, Box::new(answers));
    world.input(Input::Ticket { session: SessionId(7), body: vec![1, 2] });
    let (path, payload) = heard.try_recv().unwrap();
    assert_eq!(path, "/kf/ticket");
    assert_eq!(Ticket::decode(&payload), Ok(Ticket { session: SessionId(7), body: vec![1, 2] }));
    assert!(world.told().is_empty());
}

#[test]
fn a_foreign_datagram_changes_nothing() {
    let mut world = World::consenting();
    for datagram in [&b""[..], b"hello", &[0x40, 1, 0, 1], &[0x60, 0, 0, 1]] {
        assert!(world.terminal.handle_input(world.now, Input::Datagram(datagram)).is_err());
    }
    world.settle();
    assert!(world.told().is_empty());
}
