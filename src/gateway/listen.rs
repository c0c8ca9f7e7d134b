//! `/kf/listen`: a terminal says that it serves on a port; and what becomes of a peer that connects there.
//! Strangers have places of their own: however many knock, a terminal's own handshakes are not slowed by them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keyferry_channel::Instant;
use keyferry_parsers::messages::{Listen, ListenAnswer, Reason};
use keyferry_parsers::tls::CipherSuite;

use super::Gateway;
use super::connect::unreadable;
use super::session::{Session, Wanted, assumed_computable, computable, no_certificate};
use crate::error::Error;
use crate::policy::{Service, TerminalRef};
use crate::terminals::TerminalId;

/// No registration lasts longer, in seconds: a terminal that is gone should not be knocked at for long.
const LONGEST: u32 = 3600;

/// Where terminals listen.
#[derive(Default)]
pub(super) struct Listening {
    by_port: BTreeMap<(TerminalId, u16), Registration>,
}

/// What a terminal said of a port.
#[derive(Clone)]
struct Registration {
    until: Instant,
    cipher_suites: Vec<CipherSuite>,
    alpn: Vec<String>,
}

impl Listening {
    /// What is registered for a port and has not lapsed.
    fn at(&self, terminal: &TerminalId, port: u16, now: Instant) -> Option<&Registration> {
        self.by_port.get(&(terminal.clone(), port)).filter(|registration| registration.until > now)
    }

    /// Forgets a terminal that is gone.
    pub(super) fn remove_terminal(&mut self, terminal: &TerminalId) {
        self.by_port.retain(|(id, _), _| id != terminal);
    }
}

impl Gateway {
    /// A terminal begins, goes on or ends to listen.
    pub(super) fn listen(&mut self, now: Instant, id: &TerminalId, payload: &[u8]) -> Result<ListenAnswer, Error> {
        let request = Listen::decode(payload).map_err(|error| unreadable(&error))?;
        self.listening.by_port.retain(|_, registration| registration.until > now);
        let key = (id.clone(), request.port);
        if request.seconds == 0 {
            self.listening.by_port.remove(&key);
            return Ok(ListenAnswer { seconds: 0 });
        }
        let who = self.terminal_ref(id).ok_or_else(|| Error::new(Reason::INTERNAL, "terminal is gone"))?;
        self.check_neighbours(id, request.port, now)?;
        let decision = self.policy.service_of(&who, request.port)?;
        let alpn = common_alpn(&decision.service, &request.alpn, &who)?;
        if self.identity(id).is_none() {
            return Err(no_certificate(id));
        }
        let seconds = request.seconds.min(LONGEST);
        let registration = Registration {
            until: now + Duration::from_secs(seconds.into()),
            cipher_suites: computable(&request.cipher_suites, request.oldest_version),
            alpn,
        };
        self.listening.by_port.insert(key, registration);
        Ok(ListenAnswer { seconds })
    }

    /// Terminals behind one address have its ports between them: who listens first keeps the port.
    fn check_neighbours(&self, id: &TerminalId, port: u16, now: Instant) -> Result<(), Error> {
        let addresses = self.terminals.get(id).map(|terminal| terminal.addresses()).unwrap_or_default();
        let mut neighbours = addresses.iter().flat_map(|address| self.terminals.at(*address));
        if neighbours.any(|other| other != id && self.listening.at(other, port, now).is_some()) {
            let detail = format!("another terminal at this address listens on port {port}; choose another port");
            return Err(Error::new(Reason::SOURCE_PORT_IN_USE, detail));
        }
        Ok(())
    }

    /// Finds what a peer's connection to a terminal is for, and a place for it.
    pub(super) fn explain_inbound(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Session, &'static str> {
        let (terminal, registration) = self.who_listens(now, local)?;
        let who = self.terminal_ref(&terminal).ok_or("no terminal has this address")?;
        let decision = self.policy.lookup_service(&who, local.port(), remote.ip()).map_err(|error| {
            if error.reason == Reason::FORBIDDEN_CLIENT { "forbidden client" } else { "no service" }
        })?;
        if self.terminals.get(&terminal).is_none_or(|terminal| terminal.path.is_none()) {
            return Err("the terminal was not heard yet");
        }
        let (cipher_suites, alpn) = match registration {
            Some(Registration { cipher_suites, alpn, .. }) => (cipher_suites, alpn),
            None if decision.service.without_request => (assumed_computable(), decision.service.alpn.clone()),
            None => return Err("the terminal does not listen"),
        };
        if self.identity(&terminal).is_none() {
            return Err("the terminal has no certificate");
        }
        self.admit_caller(now, &terminal, remote.ip(), &decision.service)?;
        let wanted = Wanted::Service { peer: remote.ip(), decision, cipher_suites, alpn };
        Ok(Session::new(self.new_session(), terminal, wanted, now))
    }

    /// Among terminals that share the address it is the one that listens.
    fn who_listens(&self, now: Instant, local: SocketAddr) -> Result<(TerminalId, Option<Registration>), &'static str> {
        let here = self.terminals.at(local.ip());
        let mut listening = here.iter().filter_map(|id| Some((id, self.listening.at(id, local.port(), now)?)));
        match (listening.next(), listening.next()) {
            (Some((id, registration)), None) => Ok((id.clone(), Some(registration.clone()))),
            // Their addresses became one since they registered.
            (Some(_), Some(_)) => Err("several terminals listen there"),
            (None, _) => Ok((self.only_one_at(here)?.clone(), None)),
        }
    }

    /// Takes a place for a handshake of a caller with a terminal.
    pub(super) fn admit_caller(
        &mut self,
        now: Instant,
        id: &TerminalId,
        caller: IpAddr,
        service: &Service,
    ) -> Result<(), &'static str> {
        let settings = &self.settings;
        let terminal = self.terminals.get_mut(id).ok_or("no terminal has this address")?;
        if terminal.inbound.sessions() >= settings.sessions_per_terminal {
            return Err("as many sessions as the terminal may have");
        }
        let (anonymous, rate) = (service.clients.is_none(), settings.handshakes_per_second / 2);
        self.callers.admit(now, (caller, id), anonymous, rate, settings.pending)?;
        if !terminal.inbound.admit(now, settings.pending_per_terminal) {
            self.callers.release(caller, id);
            return Err("quota");
        }
        Ok(())
    }
}

/// What may be spoken: policy's choice of what the terminal can, in policy's order.
pub(super) fn common_alpn(
    service: &Service,
    spoken: &[String],
    terminal: &TerminalRef<'_>,
) -> Result<Vec<String>, Error> {
    if spoken.is_empty() || service.alpn.is_empty() {
        return Ok(if service.alpn.is_empty() { spoken.to_vec() } else { service.alpn.clone() });
    }
    let common: Vec<String> = service.alpn.iter().filter(|name| spoken.contains(name)).cloned().collect();
    if common.is_empty() {
        let detail = format!(
            "terminal {} speaks {}; the [[service]] allows {}",
            terminal.id,
            spoken.join(", "),
            service.alpn.join(", ")
        );
        return Err(Error::new(Reason::FORBIDDEN_ALPN, detail));
    }
    Ok(common)
}
