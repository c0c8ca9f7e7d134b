//! IP packets put together from fragments.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::ip::{Fragment, Packet, Protocol};
use super::pieces::Pieces;
use super::{Counters, Limits};

/// Packets of which fragments are missing, oldest first. A fragment is looked up one by one: there are few.
#[derive(Default)]
pub(super) struct Defrag {
    limits: Limits,
    waiting: VecDeque<Partial>,
    cost: usize,
    whole: Vec<u8>,
}

struct Partial {
    key: Key,
    since: Duration,
    pieces: Pieces,
    /// Known once the last fragment has come.
    length: Option<u64>,
    /// Fragments contradict each other: the rest is only awaited so that it is not taken for a new packet.
    dropped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// IPv6 tells packets apart by the identification alone (RFC 8200 section 4.5).
    protocol: Option<Protocol>,
}

/// No packet is longer.
const MAX_LENGTH: u64 = 65_535;

impl Defrag {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Adds a fragment; gives the packet if that was the last one missing.
    pub(super) fn add<'a>(
        &'a mut self,
        now: Duration,
        packet: &Packet<'_>,
        fragment: Fragment,
        counters: &mut Counters,
    ) -> Option<Packet<'a>> {
        self.expire(now, counters);
        let key = Key::of(packet, fragment);
        let at = match self.waiting.iter().position(|partial| partial.key == key) {
            Some(at) => at,
            None => self.start(key, now, counters),
        };
        let partial = self.waiting.get_mut(at)?;
        let before = partial.pieces.cost();
        partial.add(packet, fragment, counters);
        let complete = partial.is_complete();
        if complete {
            self.whole.clear();
            partial.pieces.join(&mut self.whole);
        }
        self.cost = self.cost.saturating_sub(before).saturating_add(partial.pieces.cost());
        if !complete {
            self.make_room(counters);
            return None;
        }
        self.remove(at);
        counters.defragmented += 1;
        // The first fragment's protocol counts; of IPv4 all say the same, and in practice of IPv6, too.
        let Packet { source, destination, protocol, .. } = *packet;
        Some(Packet { source, destination, protocol, payload: &self.whole, missing: 0, fragment: None })
    }

    fn start(&mut self, key: Key, now: Duration, counters: &mut Counters) -> usize {
        if self.waiting.len() >= self.limits.fragmented.max(1) {
            self.give_up_oldest(counters);
        }
        self.waiting.push_back(Partial { key, since: now, pieces: Pieces::default(), length: None, dropped: false });
        self.waiting.len().saturating_sub(1)
    }

    fn expire(&mut self, now: Duration, counters: &mut Counters) {
        let time = self.limits.fragment_time;
        while self.waiting.front().is_some_and(|partial| now.saturating_sub(partial.since) > time) {
            self.give_up_oldest(counters);
        }
    }

    fn make_room(&mut self, counters: &mut Counters) {
        while self.cost > self.limits.fragment_bytes && !self.waiting.is_empty() {
            self.give_up_oldest(counters);
        }
    }

    fn give_up_oldest(&mut self, counters: &mut Counters) {
        if self.waiting.front().is_some_and(|partial| !partial.dropped) {
            counters.fragments_lost += 1;
        }
        self.remove(0);
    }

    fn remove(&mut self, at: usize) {
        if let Some(partial) = self.waiting.remove(at) {
            self.cost = self.cost.saturating_sub(partial.pieces.cost());
        }
    }
}

impl Key {
    fn of(packet: &Packet<'_>, fragment: Fragment) -> Self {
        let Packet { source, destination, protocol, .. } = *packet;
        Self { source, destination, id: fragment.id, protocol: source.is_ipv4().then_some(protocol) }
    }
}

impl Partial {
    fn add(&mut self, packet: &Packet<'_>, fragment: Fragment, counters: &mut Counters) {
        if self.dropped {
            return;
        }
        let end = fragment.offset.saturating_add(packet.payload.len() as u64);
        let beyond = match self.length {
            Some(length) => end > length || (!fragment.more && end != length),
            None => !fragment.more && self.pieces.end() > end,
        };
        let known = self.pieces.insert(fragment.offset, packet.payload);
        // What the capture cut short can never be whole.
        if known.conflicting || beyond || end > MAX_LENGTH || packet.missing > 0 {
            self.dropped = true;
            self.pieces = Pieces::default();
            counters.fragments_conflicting += u64::from(packet.missing == 0);
            counters.fragments_lost += u64::from(packet.missing > 0);
        } else if !fragment.more {
            self.length = Some(end);
        }
    }

    /// No two pieces overlap and none goes beyond the end: enough bytes are all bytes.
    fn is_complete(&self) -> bool {
        !self.dropped && self.length == Some(self.pieces.bytes() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        defrag: Defrag,
        counters: Counters,
    }

    impl Scene {
        fn new(limits: Limits) -> Self {
            Self { defrag: Defrag::new(limits), counters: Counters::default() }
        }

        fn add(&mut self, second: u64, id: u32, offset: u64, more: bool, payload: &[u8]) -> Option<Vec<u8>> {
            let packet = Packet {
                source: IpAddr::from([10, 0, 0, 1]),
                destination: IpAddr::from([10, 0, 0, 2]),
                protocol: Protocol::UDP,
                payload,
                missing: 0,
                fragment: None,
            };
            let fragment = Fragment { id, offset, more };
            let whole = self.defrag.add(Duration::from_secs(second), &packet, fragment, &mut self.counters)?;
            assert_eq!((whole.protocol, whole.fragment), (Protocol::UDP, None));
            Some(whole.payload.to_vec())
        }
    }

    #[test]
    fn fragments_come_in_any_order_and_twice() {
        let mut scene = Scene::new(Limits::default());
        assert_eq!(scene.add(0, 1, 16, false, b"end"), None);
        assert_eq!(scene.add(0, 2, 0, true, b"another!"), None);
        assert_eq!(scene.add(0, 1, 0, true, b"01234567"), None);
        assert_eq!(scene.add(0, 1, 0, true, b"01234567"), None);
        assert_eq!(scene.add(0, 1, 8, true, b"89abcdef"), Some(b"0123456789abcdefend".to_vec()));
        assert_eq!(scene.counters.defragmented, 1);
        assert_eq!(scene.add(0, 2, 8, false, b"."), Some(b"another!.".to_vec()));
        assert_eq!(scene.defrag.cost, 0);
    }

    #[test]
    fn contradicting_fragments_drop_the_packet() {
        let mut scene = Scene::new(Limits::default());
        assert_eq!(scene.add(0, 1, 0, true, b"01234567"), None);
        assert_eq!(scene.add(0, 1, 0, true, b"0123456X"), None);
        assert_eq!(scene.add(0, 1, 8, false, b"end"), None);
        // Two ends, and more behind the end.
        assert_eq!(scene.add(0, 2, 8, false, b"end"), None);
        assert_eq!(scene.add(0, 2, 16, false, b"end"), None);
        assert_eq!(scene.add(0, 2, 0, true, b"01234567"), None);
        assert_eq!(scene.counters.fragments_conflicting, 2);
        assert_eq!(scene.defrag.cost, 0);
    }

    #[test]
    fn nothing_is_awaited_for_ever_nor_without_limit() {
        let mut scene = Scene::new(Limits { fragmented: 2, fragment_bytes: 200, ..Limits::default() });
        assert_eq!(scene.add(0, 1, 0, true, b"01234567"), None);
        assert_eq!(scene.add(31, 1, 8, false, b"end"), None);
        assert_eq!(scene.counters.fragments_lost, 1);
        for id in 2..10 {
            assert_eq!(scene.add(31, id, 0, true, b"01234567"), None);
        }
        assert_eq!(scene.defrag.waiting.len(), 2);
        assert_eq!(scene.counters.fragments_lost, 8);
        assert_eq!(scene.add(31, 9, 8, true, &[0; 120]), None);
        assert!(scene.defrag.cost <= 200);
    }
}
