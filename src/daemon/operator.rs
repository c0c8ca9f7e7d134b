//! What `keyferry terminal` and `keyferry stats` ask of a running gateway. Terminal commands change the
//! store exactly as without a gateway ([`operate`]); here the core and the packet rules learn of it.

use std::sync::PoisonError;

use super::{Call, Driver, Input};
use crate::error::Error;
use crate::io::admin::{AdminRequest, AdminResponse, LiveTerminal, NewCertificate, ShownTerminal, operate};
use crate::io::clock::unix_seconds;
use crate::io::report;
use crate::io::store::Store;
use crate::terminals::TerminalId;

impl Driver {
    pub(super) fn answer(&mut self, (request, reply): Call) {
        let response = match &request {
            AdminRequest::Stats => {
                AdminResponse::Stats(report::json(self.gateway.stats(), self.gateway.view(), self.uptime()))
            }
            AdminRequest::Prometheus => {
                AdminResponse::Text(report::prometheus(self.gateway.stats(), self.gateway.view(), self.uptime()))
            }
            AdminRequest::TerminalRevoke { id } => self.revoke(id, &request),
            AdminRequest::CertificateAdd(new) => self.add_certificate(new, &request),
            AdminRequest::CertificateRemove { id, name } => self.remove_certificate(id, name, &request),
            AdminRequest::TerminalAdd(_)
            | AdminRequest::TerminalList
            | AdminRequest::TerminalShow { .. }
            | AdminRequest::CertificateList { .. } => self.operate(&request),
        };
        // The operator may have given up; then nobody waits for the answer.
        let _ = reply.send(response);
    }

    fn operate(&mut self, request: &AdminRequest) -> AdminResponse {
        let contact = self.contact.clone();
        let answered = self.with_store(|store| operate(store, &contact, request, unix_seconds()));
        let mut response = answered.unwrap_or_else(|| AdminResponse::Failed("not a terminal command".into()));
        match &mut response {
            AdminResponse::Enrolled(enrolled) => {
                if let Err(error) = self.admit_enrolled(&enrolled.terminal.id) {
                    return AdminResponse::Failed(error.to_string());
                }
            }
            AdminResponse::Terminal(shown) => self.add_live(shown),
            AdminResponse::Terminals(list) => list.iter_mut().for_each(|shown| self.add_live(shown)),
            _ => {}
        }
        response
    }

    /// Cut off first, then made lasting: nothing gets through meanwhile, and a store that fails leaves the
    /// terminal without service rather than with it.
    fn revoke(&mut self, id: &str, request: &AdminRequest) -> AdminResponse {
        let live = TerminalId::try_from(id).ok().and_then(|id| self.records.get(&id).cloned());
        if let Some(record) = live {
            self.tell(Input::Revoke(record.id.clone()));
            // The packet rules first of all; they need the record.
            self.drain();
            self.records.remove(&record.id);
            tracing::info!("terminal revoked");
            tracing::debug!(terminal = id, "of this id");
        }
        let forgotten = self.keys.forget(id, None);
        match self.operate(request) {
            AdminResponse::Terminal(_) | AdminResponse::Refused(_) if forgotten.is_err() => {
                still_with_signer(id, forgotten)
            }
            AdminResponse::Failed(why) => AdminResponse::Failed(format!(
                "the terminal is cut off until the gateway restarts, but not for good: {why}; mend that and repeat"
            )),
            response => response,
        }
    }

    fn add_certificate(&mut self, new: &NewCertificate, request: &AdminRequest) -> AdminResponse {
        if let Some(why) = self.keys.misplaced(new.private_key.is_some()) {
            return AdminResponse::Refused(why.into());
        }
        let response = self.operate(request);
        if let (AdminResponse::Certificate(shown), Ok(id)) = (&response, TerminalId::try_from(new.id.as_str())) {
            tracing::info!(certificate = shown.id, "a terminal has a certificate");
            self.bring_credentials(&id);
        }
        response
    }

    /// Out of use at once, then erased.
    fn remove_certificate(&mut self, id: &str, name: &str, request: &AdminRequest) -> AdminResponse {
        let forgotten = self.keys.forget(id, Some(name));
        let response = self.operate(request);
        if let Ok(id) = TerminalId::try_from(id) {
            self.bring_credentials(&id);
        }
        match response {
            AdminResponse::Certificate(_) | AdminResponse::Refused(_) if forgotten.is_err() => {
                still_with_signer(id, forgotten)
            }
            response => response,
        }
    }

    /// Tells the core, and the signer where it is in this process, which certificates of a terminal the store has.
    pub(super) fn bring_credentials(&mut self, id: &TerminalId) {
        let stored = match self.with_store(|store| store.credentials_of(id)) {
            Ok(stored) => stored,
            Err(error) => return tracing::error!(%error, "a terminal is without its certificates"),
        };
        let mut credentials = Vec::new();
        for stored in stored {
            match self.keys.admit(&stored) {
                Ok(()) => credentials.push(stored.credential),
                Err(error) => tracing::error!(%error, "a certificate is not used"),
            }
        }
        if self.records.contains_key(id) {
            self.tell(Input::Credentials { terminal: id.clone(), credentials });
        }
    }

    /// The store has a new terminal: rules and core are told.
    fn admit_enrolled(&mut self, id: &str) -> Result<(), Error> {
        let Ok(id) = TerminalId::try_from(id) else { return Ok(()) };
        let Some(record) = self.with_store(|store| store.terminal(&id))? else { return Ok(()) };
        let Some(state) = self.with_store(|store| store.channel(record.kid))? else { return Ok(()) };
        for binding in super::configured_bindings(&self.policy, &record) {
            self.rules.bind(&binding)?;
        }
        self.admit(record, state);
        Ok(())
    }

    fn add_live(&self, shown: &mut ShownTerminal) {
        let Ok(id) = TerminalId::try_from(shown.record.id.as_str()) else { return };
        shown.live = self.gateway.terminal_view(&id, self.clock.monotonic()).map(|view| LiveTerminal {
            heard_seconds_ago: view.heard_ago.map(|ago| ago.as_secs()),
            channel_address: view.address,
            epoch: view.epoch,
            pending: view.pending,
            sessions: view.sessions,
        });
    }

    fn uptime(&self) -> u64 {
        self.clock.monotonic().as_micros() / 1_000_000
    }

    fn with_store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Done here, but the signer process has yet to hear of it.
fn still_with_signer(id: &str, forgotten: Result<(), Error>) -> AdminResponse {
    let why = forgotten.err().map(|error| error.to_string()).unwrap_or_default();
    AdminResponse::Failed(format!("it is done, but the signer still has private keys of {id}: {why}; then repeat this"))
}
