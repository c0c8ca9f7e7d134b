//! The stack as a whole: frames in, what a consumer is told out.

use super::*;

/// Writes down what it is told, and stops listening to a connection once it has sent `enough` bytes.
#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    enough: Option<usize>,
}

impl Consumer for Notes {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        let Datagram { source, destination, payload, missing, fragmented, .. } = datagram;
        let payload = String::from_utf8_lossy(payload);
        self.lines.push(format!("{source} > {destination} {payload} -{missing} {fragmented}"));
    }

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        let id = event.id.0;
        let (line, length) = match event.what {
            What::Opened { client, server, pickup } => (format!("{client} > {server} {pickup:?}"), 0),
            What::Data { direction, offset, bytes } => {
                (format!("{direction:?} {offset} {}", String::from_utf8_lossy(bytes)), bytes.len())
            }
            What::Gap { direction, offset, length } => (format!("{direction:?} {offset} gap {length}"), 0),
            What::Retransmitted { direction, offset, length, conflicting } => {
                (format!("{direction:?} {offset} again {length} {conflicting}"), 0)
            }
            What::Closed { how } => (format!("{how:?}"), 0),
        };
        self.lines.push(format!("{id} {line}"));
        if self.enough.is_some_and(|enough| length >= enough) { Interest::None } else { Interest::Full }
    }
}

struct Scene {
    stack: Stack,
    notes: Notes,
}

const CLIENT: u16 = 40_000;
const SERVER: u16 = 443;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Scene {
    fn new(limits: Limits) -> Self {
        Self { stack: Stack::new(limits), notes: Notes::default() }
    }

    fn ip(&mut self, protocol: u8, payload: &[u8], captured: usize) {
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 7, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 1]);
        packet.extend_from_slice(payload);
        self.frame(LinkType::RAW, &packet[..captured.min(packet.len())]);
    }

    fn frame(&mut self, link: LinkType, data: &[u8]) {
        let length = data.len() as u32;
        let frame = Frame { time: Duration::from_secs(1), link, data, original_length: length, interface: 0 };
        self.stack.frame(&frame, &mut self.notes);
    }

    /// A segment between two ports of one host.
    fn tcp(&mut self, ports: (u16, u16), flags: u8, sequence: u32, acknowledgement: u32, payload: &[u8]) {
        let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledgement.to_be_bytes());
        segment.extend_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
        segment.extend_from_slice(payload);
        self.ip(6, &segment, usize::MAX);
    }

    fn client(&mut self, flags: u8, sequence: u32, acknowledgement: u32, payload: &[u8]) {
        self.tcp((CLIENT, SERVER), flags, sequence, acknowledgement, payload);
    }

    fn server(&mut self, flags: u8, sequence: u32, acknowledgement: u32, payload: &[u8]) {
        self.tcp((SERVER, CLIENT), flags, sequence, acknowledgement, payload);
    }

    fn open(&mut self) {
        self.client(SYN, 99, 0, b"");
        self.server(SYN | ACK, 499, 100, b"");
        self.client(ACK, 100, 500, b"");
        assert_eq!(self.lines(), ["1 10.0.0.1:40000 > 10.0.0.1:443 Handshake"]);
    }

    /// What was noted since it was last asked.
    fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes.lines)
    }

    fn finish(&mut self) -> Vec<String> {
        self.stack.finish(&mut self.notes);
        self.lines()
    }
}

fn scene() -> Scene {
    Scene::new(Limits::default())
}

#[test]
fn a_connection_from_its_opening_to_its_end() {
    let mut scene = scene();
    scene.open();
    scene.client(ACK, 100, 500, b"hello");
    scene.server(ACK, 500, 105, b"welcome");
    scene.server(FIN | ACK, 507, 105, b"");
    scene.client(FIN | ACK, 105, 508, b"bye");
    assert_eq!(scene.lines(), ["1 FromClient 0 hello", "1 FromServer 0 welcome", "1 FromClient 5 bye", "1 Finished"]);
    scene.server(ACK, 508, 109, b"");
    scene.client(ACK, 100, 500, b"hello");
    assert!(scene.finish().is_empty());
    assert_eq!(scene.stack.counters().connections, 1);
}

#[test]
fn a_syn_may_carry_data_and_may_cross_another() {
    let mut scene = scene();
    scene.client(SYN, 99, 0, b"early");
    scene.server(SYN, 499, 0, b"");
    scene.client(SYN | ACK, 99, 500, b"");
    scene.server(SYN | ACK, 499, 100, b"");
    scene.server(ACK, 500, 105, b"answer");
    let opened = "1 10.0.0.1:40000 > 10.0.0.1:443 Handshake";
    assert_eq!(scene.lines(), [opened, "1 FromClient 0 early", "1 FromServer 0 answer"]);
}

#[test]
fn roles_are_guessed_where_the_opening_is_missing() {
    let mut scene = scene();
    scene.server(ACK, 500, 105, b"");
    assert!(scene.lines().is_empty()); // nothing to tell yet
    scene.server(ACK, 500, 105, b"answer");
    assert_eq!(scene.lines(), ["1 10.0.0.1:40000 > 10.0.0.1:443 MidStream", "1 FromServer 0 answer"]);
    assert_eq!(scene.finish(), ["1 CaptureEnded"]);
}

#[test]
fn an_answer_that_overtakes_its_call_names_the_roles() {
    let mut scene = scene();
    scene.tcp((443, 9), SYN | ACK, 499, 100, b"");
    scene.tcp((9, 443), SYN, 99, 0, b"");
    scene.tcp((9, 443), ACK, 100, 500, b"hello");
    assert_eq!(scene.lines(), ["1 10.0.0.1:9 > 10.0.0.1:443 Handshake", "1 FromClient 0 hello"]);
}

#[test]
fn a_reset_hands_on_what_waits() {
    let mut scene = scene();
    scene.open();
    scene.client(ACK, 102, 500, b"llo");
    scene.server(RST, 500, 0, b"go away");
    assert_eq!(scene.lines(), ["1 FromClient 0 gap 2", "1 FromClient 2 llo", "1 Reset(FromServer)"]);
}

#[test]
fn ports_are_used_again() {
    let mut scene = scene();
    scene.open();
    scene.client(SYN, 99, 0, b""); // again
    scene.client(SYN, 7, 0, b"");
    assert_eq!(scene.lines(), ["1 Replaced", "2 10.0.0.1:40000 > 10.0.0.1:443 Handshake"]);
    scene.server(RST | ACK, 0, 8, b"");
    scene.server(SYN, 5, 0, b""); // the other calls back
    assert_eq!(scene.lines(), ["2 Reset(FromServer)", "3 10.0.0.1:443 > 10.0.0.1:40000 Handshake"]);
}

#[test]
fn an_acknowledged_fin_shows_that_the_capture_lost_bytes() {
    let mut scene = scene();
    scene.open();
    scene.client(ACK, 105, 500, b"world");
    scene.client(FIN | ACK, 110, 500, b"");
    assert!(scene.lines().is_empty());
    scene.server(FIN | ACK, 500, 111, b"");
    assert_eq!(scene.lines(), ["1 FromClient 0 gap 5", "1 FromClient 5 world", "1 Finished"]);
}

#[test]
fn an_ignored_connection_tells_its_end_alone() {
    let mut scene = scene();
    scene.notes.enough = Some(5);
    scene.open();
    scene.client(ACK, 102, 500, b"llo!");
    scene.client(ACK, 100, 500, b"he");
    scene.client(ACK, 106, 500, b"unheard");
    scene.client(ACK, 113, 500, b"of");
    assert_eq!(scene.lines(), ["1 FromClient 0 he", "1 FromClient 2 llo!", "1 FromClient 6 unheard"]);
    scene.server(ACK, 500, 106, b"answer");
    scene.client(FIN | ACK, 115, 500, b"");
    assert!(scene.lines().is_empty());
    scene.server(FIN | ACK, 506, 116, b"");
    assert_eq!(scene.lines(), ["1 Finished"]);
}

#[test]
fn who_waits_for_too_much_is_given_a_gap() {
    let mut scene = Scene::new(Limits { stream_bytes: 1000, ..Limits::default() });
    scene.open();
    scene.client(ACK, 101, 500, &[b'a'; 600]);
    assert!(scene.lines().is_empty());
    scene.client(ACK, 701, 500, &[b'b'; 600]);
    let lines = scene.lines();
    assert_eq!((lines.len(), &lines[0][..]), (3, "1 FromClient 0 gap 1"));
    // The same for all connections together.
    let mut scene = Scene::new(Limits { all_streams_bytes: 1500, ..Limits::default() });
    for port in 1..100 {
        scene.tcp((port, SERVER), SYN, 99, 0, b"");
        scene.tcp((port, SERVER), ACK, 101, 0, &[b'a'; 600]);
    }
    assert_eq!(scene.stack.counters().gaps, 97); // two of them may wait;
}

#[test]
fn an_idle_connection_makes_room() {
    let mut scene = Scene::new(Limits { connections: 3, ..Limits::default() });
    for port in [1, 2, 3] {
        scene.tcp((port, SERVER), SYN, 99, 0, b"");
    }
    scene.tcp((4, SERVER), SYN, 99, 0, b""); // all were active: the hand goes round once
    scene.lines();
    scene.tcp((3, SERVER), ACK, 100, 0, b"still here");
    scene.tcp((5, SERVER), SYN, 99, 0, b"");
    assert_eq!(scene.lines(), ["3 FromClient 0 still here", "2 Evicted", "5 10.0.0.1:5 > 10.0.0.1:443 Handshake"]);
    assert_eq!(scene.stack.counters().connections_evicted, 2);
}

#[test]
fn closed_connections_are_forgotten_in_the_end() {
    let mut scene = scene();
    for port in 1..5000 {
        scene.tcp((port, 6000), SYN, 99, 0, b"");
        scene.tcp((6000, port), RST | ACK, 0, 100, b"");
    }
    assert_eq!(scene.stack.connections.len(), 1024);
    assert!(scene.lines().iter().all(|line| !line.contains("Evicted")));
}

#[test]
fn datagrams_and_what_cannot_be_one() {
    let mut scene = scene();
    let header = [1, 0xf4, 1, 0xf4, 0, 12, 0, 0];
    scene.ip(17, &[&header[..], b"isak"].concat(), usize::MAX);
    scene.ip(17, &[&header[..], b"isak"].concat(), 30);
    scene.ip(17, &header, 26);
    scene.ip(50, b"secret", usize::MAX);
    scene.frame(LinkType(105), b"wireless");
    scene.frame(LinkType::ETHERNET, &[0; 60]);
    let lines = ["10.0.0.1:500 > 10.0.0.1:500 isak -0 false", "10.0.0.1:500 > 10.0.0.1:500 is -2 false"];
    assert_eq!(scene.lines(), lines);
    let counters = scene.stack.counters();
    assert_eq!((counters.frames, counters.udp, counters.truncated), (6, 2, 2));
    assert_eq!((counters.malformed, counters.other_protocols), (1, 1));
    assert_eq!((counters.unknown_link, counters.not_ip), (1, 1));
}

#[test]
fn a_fragmented_datagram_is_put_together() {
    let mut scene = scene();
    let datagram = [&[1, 0xf4, 1, 0xf4, 0, 28, 0, 0][..], b"first, second, third"].concat();
    let fragment = |offset: u8, more: bool, payload: &[u8]| {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8 + payload.len() as u8, 44, 64];
        packet.extend_from_slice(&[1; 16]);
        packet.extend_from_slice(&[2; 16]);
        packet.extend_from_slice(&[17, 0, 0, offset | u8::from(more), 0, 0, 0, 9]);
        packet.extend_from_slice(payload);
        packet
    };
    scene.frame(LinkType::IPV6, &fragment(16, false, &datagram[16..]));
    assert!(scene.lines().is_empty());
    scene.frame(LinkType::IPV6, &fragment(0, true, &datagram[..16]));
    let line = "[101:101:101:101:101:101:101:101]:500 > [202:202:202:202:202:202:202:202]:500 first, second, third";
    assert_eq!(scene.lines(), [format!("{line} -0 true")]);
    assert_eq!(scene.stack.counters().fragments, 2);
}
