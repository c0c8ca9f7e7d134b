//! Tickets, of sessions that can be resumed and of those that cannot.

use super::*;

#[test]
fn tickets_are_skipped_whole_split_and_together() {
    let (mut session, mut peer) = pair(0x1301);
    let ticket = [&[4, 0, 0, 200][..], &[9; 200]].concat();
    peer.record(22, &ticket).record(22, &[ticket.clone(), ticket.clone()].concat());
    for part in ticket.chunks(50) {
        peer.record(22, part);
    }
    peer.data(b"ok");
    assert_eq!(read(&mut session, &peer.stream), (b"ok".to_vec(), false, None));
}

fn resumable() -> (Session, Peer) {
    let mut handover = handover(0x1301);
    handover.resumable = true;
    (Session::new(handover, START).unwrap(), pair(0x1301).1)
}

fn tickets(session: &mut Session, mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut tickets = Vec::new();
    while let Some(event) = session.open(START, &mut stream).unwrap() {
        if let Event::Ticket(ticket) = event {
            tickets.push(ticket);
        }
    }
    tickets
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[4, 0][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

#[test]
fn tickets_come_out_whole_split_and_together() {
    let (mut session, mut peer) = resumable();
    let long = message(&[9; 200]);
    peer.record(22, &[message(b"one"), message(b"two")].concat()).data(b"x");
    long.chunks(50).for_each(|part| _ = peer.record(22, part));
    peer.record(22, &[message(b"last"), vec![24, 0, 0, 1, 0]].concat());
    peer.tx.update().unwrap();
    peer.data(b"y");
    let expected = [b"one".to_vec(), b"two".to_vec(), vec![9; 200], b"last".to_vec()];
    assert_eq!(tickets(&mut session, &peer.stream), expected);
}

#[test]
fn tickets_of_a_session_that_cannot_be_resumed_do_not() {
    let (mut session, mut peer) = pair(0x1301);
    peer.record(22, &message(b"one"));
    assert_eq!(tickets(&mut session, &peer.stream), [b""; 0]);
}

#[test]
fn no_more_tickets_than_anybody_needs_are_kept() {
    let (mut session, mut peer) = resumable();
    peer.record(22, &message(b"t").repeat(6)).record(22, &message(&[1; 5000])).record(22, &message(&[2; 4096]));
    let kept = tickets(&mut session, &peer.stream);
    assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 1, 4096]);
}

#[test]
fn the_thirty_second_update_is_the_end() {
    let (mut session, mut peer) = resumable();
    let mut sent = Vec::new();
    (0..31).for_each(|_| session.key_update(START, &mut sent).unwrap());
    assert_eq!(session.key_update(START, &mut sent), Err(Fault::KeyExhausted));
    session.drain(&mut sent);
    assert_eq!(read_slowly(&mut mirror(0x1301), &sent), (vec![], true, None), "close_notify instead");

    (0..31).for_each(|_| _ = peer.key_update(0));
    peer.data(b"y");
    let (mut session, _) = resumable();
    assert_eq!(read_slowly(&mut session, &peer.stream), (b"y".to_vec(), false, None));
    peer.stream.clear();
    assert_dies_of_use(&mut session, peer.key_update(0));
}

fn assert_dies_of_use(session: &mut Session, peer: &Peer) {
    assert_eq!(read(session, &peer.stream).2, Some(Fault::KeyExhausted));
    assert_eq!(read(&mut mirror(0x1301), &drained(session)), (vec![], true, None));
}

/// As `read`, slowly enough that thirty updates are no flood.
fn read_slowly(session: &mut Session, stream: &[u8]) -> (Vec<u8>, bool, Option<Fault>) {
    let (mut data, mut now) = (Vec::new(), 0);
    for part in stream.chunks(27) {
        now += 1_000_000;
        let mut part = part;
        loop {
            match session.open(Instant::from_micros(now), &mut part) {
                Ok(Some(Event::Data(bytes))) => data.extend_from_slice(bytes),
                Ok(Some(Event::Ticket(_))) => {}
                Ok(Some(Event::Closed)) => return (data, true, None),
                Ok(None) => break,
                Err(fault) => return (data, false, Some(fault)),
            }
        }
    }
    (data, false, None)
}
