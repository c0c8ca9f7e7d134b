//! What `keyferry terminal` and `keyferry stats` ask of a running gateway. Terminal commands change the
//! store exactly as without a gateway ([`operate`]); here the core and the packet rules learn of it.

use std::sync::PoisonError;

use super::{Call, Driver, Input};
use crate::error::Error;
use crate::io::admin::{AdminRequest, AdminResponse, LiveTerminal, ShownTerminal, operate};
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
            AdminRequest::TerminalAdd(_) | AdminRequest::TerminalList | AdminRequest::TerminalShow { .. } => {
                self.operate(&request)
            }
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
        match self.operate(request) {
            AdminResponse::Failed(why) => AdminResponse::Failed(format!(
                "the terminal is cut off until the gateway restarts, but not for good: {why}; mend that and repeat"
            )),
            response => response,
        }
    }

    /// The store has a new terminal: rules and core are told.
    fn admit_enrolled(&mut self, id: &str) -> Result<(), Error> {
        let Ok(id) = TerminalId::try_from(id) else { return Ok(()) };
        let Some(record) = self.with_store(|store| store.terminal(&id))? else { return Ok(()) };
        let Some(state) = self.with_store(|store| store.channel(record.kid))? else { return Ok(()) };
        for binding in super::configured_bindings(&record) {
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
