//! Who connects to terminals, counted by where it comes from: strangers have places of their own, so that however
//! many knock, and however long one of them holds on, there is room for others and for the terminals themselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use keyferry_channel::Instant;

use crate::terminals::{Quota, TerminalId};

/// Handshakes that one caller may have open with one terminal, and with all.
const PER_TERMINAL: u32 = 8;
const PER_CALLER: u32 = 64;
/// Sessions that a caller that proves nothing may have with one terminal.
const ANONYMOUS_SESSIONS: u32 = 64;
/// Sessions that peers opened, in all: two descriptors each, and half of what a process usually has.
const SESSIONS: usize = 8192;
/// Callers that are remembered although they have nothing open.
const IDLE: usize = 4096;

/// The handshakes and sessions that peers began.
#[derive(Default)]
pub(super) struct Callers {
    by_terminal: BTreeMap<(IpAddr, TerminalId), Quota>,
    pending: BTreeMap<IpAddr, u32>,
    total: usize,
    sessions: usize,
}

impl Callers {
    /// Takes a place for a handshake of `address` with `terminal`. `rate`: handshakes a second that one caller may
    /// begin with one terminal; `limit`: handshakes open in all.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        (address, terminal): (IpAddr, &TerminalId),
        anonymous: bool,
        rate: u32,
        limit: usize,
    ) -> Result<(), &'static str> {
        // First, so that whoever is turned away leaves no entry behind.
        if self.total >= limit || self.sessions >= SESSIONS {
            return Err("too many connections to terminals");
        }
        let caller = caller(address);
        if self.pending.get(&caller).is_some_and(|pending| *pending >= PER_CALLER) {
            return Err("too many handshakes from there");
        }
        self.forget_idle();
        let quota = self.by_terminal.entry((caller, terminal.clone())).or_insert_with(|| Quota::new(rate.max(1), now));
        if anonymous && quota.sessions() >= ANONYMOUS_SESSIONS {
            return Err("too many sessions from there");
        }
        if !quota.admit(now, PER_TERMINAL) {
            return Err("too many handshakes from there");
        }
        let pending = self.pending.entry(caller).or_default();
        *pending = pending.saturating_add(1);
        self.total = self.total.saturating_add(1);
        Ok(())
    }

    /// A handshake is over, whichever way.
    pub(super) fn release(&mut self, address: IpAddr, terminal: &TerminalId) {
        let caller = caller(address);
        if let Some(pending) = self.pending.get_mut(&caller) {
            *pending = pending.saturating_sub(1);
            if *pending == 0 {
                self.pending.remove(&caller);
            }
            self.total = self.total.saturating_sub(1);
        }
        if let Some(quota) = self.by_terminal.get_mut(&(caller, terminal.clone())) {
            quota.release();
        }
    }

    pub(super) fn session_began(&mut self, address: IpAddr, terminal: &TerminalId) {
        self.sessions = self.sessions.saturating_add(1);
        if let Some(quota) = self.by_terminal.get_mut(&(caller(address), terminal.clone())) {
            quota.session_began();
        }
    }

    pub(super) fn session_ended(&mut self, address: IpAddr, terminal: &TerminalId) {
        self.sessions = self.sessions.saturating_sub(1);
        if let Some(quota) = self.by_terminal.get_mut(&(caller(address), terminal.clone())) {
            quota.session_ended();
        }
    }

    /// Those with nothing open lose at most the memory of how fast they were.
    fn forget_idle(&mut self) {
        if self.by_terminal.len() > self.total.saturating_add(self.sessions).saturating_add(IDLE) {
            self.by_terminal.retain(|_, quota| quota.pending() > 0 || quota.sessions() > 0);
        }
    }
}

/// Whom an address belongs to: in IPv6 a host has a whole /64.
fn caller(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_micros(0);

    fn terminal(name: &str) -> TerminalId {
        TerminalId::try_from(name).unwrap()
    }

    fn v6(host: u32) -> IpAddr {
        IpAddr::from([0xfd07, 2, 0, 0, 0, 0, 0, host as u16])
    }

    #[test]
    fn one_host_cannot_take_all_places_not_even_with_many_addresses() {
        let (mut callers, meter) = (Callers::default(), terminal("meter"));
        let mut admit = |address| callers.admit(START, (address, &meter), false, 100, 1000).is_ok();
        assert!((0..PER_TERMINAL).all(|number| admit(v6(number))));
        assert!(!admit(v6(99)));
        assert!(admit("fd07:3::1".parse().unwrap()));
        callers.release(v6(3), &meter);
        assert!(callers.admit(START, (v6(99), &meter), false, 100, 1000).is_ok());
    }

    #[test]
    fn one_host_has_a_rate_and_a_number_of_places_with_all_terminals() {
        let mut callers = Callers::default();
        let meters: Vec<TerminalId> = (0..100).map(|number| terminal(&format!("meter-{number}"))).collect();
        let admitted =
            meters.iter().filter(|meter| callers.admit(START, (v6(1), meter), false, 5, 1000).is_ok()).count();
        assert_eq!(admitted, PER_CALLER as usize);

        let mut callers = Callers::default();
        let mut knock = || {
            let admitted = callers.admit(START, (v6(1), &meters[0]), false, 5, 1000).is_ok();
            callers.release(v6(1), &meters[0]);
            admitted
        };
        assert_eq!((0..100).filter(|_| knock()).count(), 10, "a burst of two seconds' worth");
    }

    #[test]
    fn who_proves_nothing_holds_a_few_sessions_only() {
        let (mut callers, meter) = (Callers::default(), terminal("meter"));
        let mut open = |anonymous| {
            callers.admit(START, (v6(1), &meter), anonymous, 1000, 1000)?;
            callers.session_began(v6(1), &meter);
            callers.release(v6(1), &meter);
            Ok::<_, &str>(())
        };
        assert!((0..ANONYMOUS_SESSIONS).all(|_| open(true).is_ok()));
        assert!(open(true).is_err() && open(false).is_ok());
        callers.session_ended(v6(1), &meter);
        callers.session_ended(v6(1), &meter);
        assert!(callers.admit(START, (v6(1), &meter), true, 1000, 1000).is_ok());
    }

    #[test]
    fn places_are_bounded_in_all_and_come_back() {
        let (mut callers, meter) = (Callers::default(), terminal("meter"));
        let host = |last: u8| IpAddr::from([10, 7, 2, last]);
        let admit = |callers: &mut Callers, last| callers.admit(START, (host(last), &meter), false, 10, 2).is_ok();
        assert!(admit(&mut callers, 1) && admit(&mut callers, 2));
        assert!(!admit(&mut callers, 3));
        callers.release(host(1), &meter);
        callers.release(host(1), &meter);
        assert!(admit(&mut callers, 3));
        assert!(!admit(&mut callers, 4), "a place was given back twice");
    }

    #[test]
    fn a_multitude_leaves_no_memory_behind() {
        let (mut callers, meter) = (Callers::default(), terminal("meter"));
        for number in 0..20_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            let _ = callers.admit(START, (address, &meter), false, 10, 100);
            callers.release(address, &meter);
        }
        assert!(callers.by_terminal.len() <= IDLE + 2 && callers.pending.is_empty());
    }
}
