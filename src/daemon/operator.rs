//! What `keyferry terminal` does to a running gateway. The store comes first, then the core; for a
//! revocation the packet rules come before both, so that nothing gets through meanwhile.

use std::sync::PoisonError;

use keyferry_channel::State;

use super::{
    AdminResponse, Binding, Change, Driver, Input, LiveTerminal, NewTerminal, NotEnrolled, ShownTerminal, TerminalId,
    TerminalRecord, enrol, unix_seconds,
};
use crate::error::Error;
use crate::hex;
use crate::io::admin::{EnrolledTerminal, KeyText};
use crate::io::store::{Store, WrittenRecord};

impl Driver {
    pub(super) fn uptime(&self) -> u64 {
        self.clock.monotonic().as_micros() / 1_000_000
    }

    pub(super) fn add_terminal(&mut self, new: &NewTerminal) -> AdminResponse {
        let Some(gateway) = self.channel_addresses.first().copied() else {
            return AdminResponse::Failed("the channel has no address".into());
        };
        let enrolled = self.with_store(|store| enrol::enrol(store, new, unix_seconds()));
        match enrolled {
            Ok(enrolled) => {
                for binding in super::configured_bindings(&enrolled.record) {
                    if let Err(error) = self.rules.bind(&binding) {
                        tracing::error!(%error, "a new terminal's packets are not let through");
                    }
                }
                let key = KeyText::new(hex::encode(enrolled.key.as_bytes()));
                let terminal = WrittenRecord::from(&enrolled.record);
                self.admit(enrolled.record, State::new(enrolled.key));
                let gateway_id = hex::encode(self.gateway_id.as_bytes());
                AdminResponse::Enrolled(EnrolledTerminal { terminal, key, gateway_id, gateway })
            }
            Err(NotEnrolled::Refused(what)) => AdminResponse::Refused(what),
            Err(NotEnrolled::Store(error)) => AdminResponse::Failed(error.to_string()),
        }
    }

    pub(super) fn list_terminals(&mut self) -> AdminResponse {
        match self.with_store(Store::terminals) {
            Ok(records) => AdminResponse::Terminals(records.iter().map(|record| self.shown(record)).collect()),
            Err(error) => AdminResponse::Failed(error.to_string()),
        }
    }

    pub(super) fn show_terminal(&mut self, id: &str) -> AdminResponse {
        match self.stored(id) {
            Ok(Some(record)) => AdminResponse::Terminal(Box::new(self.shown(&record))),
            Ok(None) => AdminResponse::Refused(format!("there is no terminal `{id}`")),
            Err(error) => AdminResponse::Failed(error.to_string()),
        }
    }

    pub(super) fn revoke_terminal(&mut self, id: &str) -> AdminResponse {
        let record = match self.stored(id) {
            Ok(Some(record)) if record.revoked.is_none() => record,
            Ok(Some(record)) => return AdminResponse::Terminal(Box::new(self.shown(&record))),
            Ok(None) => return AdminResponse::Refused(format!("there is no terminal `{id}`")),
            Err(error) => return AdminResponse::Failed(error.to_string()),
        };
        for address in &record.addresses {
            if let Err(error) = self.rules.unbind(&Binding::of(&record, *address)) {
                tracing::error!(%error, "a revoked terminal's address is still let through");
            }
        }
        // The core forgets it whether or not the store takes the revocation: better cut off than not.
        self.tell(Input::Revoke(record.id.clone()));
        self.records_after_drain(&record.id);
        let revoked = vec![Change::Revoke { id: record.id.clone(), at: unix_seconds() }];
        if let Err(error) = self.with_store(|store| store.commit(revoked)) {
            return AdminResponse::Failed(format!(
                "the terminal is cut off until the gateway restarts, but not for good: {error}; make room and repeat"
            ));
        }
        tracing::info!(terminal = id, "terminal revoked");
        self.show_terminal(id)
    }

    /// The record is needed until the core's last outputs about it are acted upon.
    fn records_after_drain(&mut self, id: &TerminalId) {
        self.drain();
        self.records.remove(id);
    }

    fn stored(&mut self, id: &str) -> Result<Option<TerminalRecord>, Error> {
        match TerminalId::try_from(id) {
            Ok(id) => self.with_store(|store| store.terminal(&id)),
            Err(_) => Ok(None),
        }
    }

    fn shown(&self, record: &TerminalRecord) -> ShownTerminal {
        let live = self.gateway.terminal_view(&record.id, self.clock.monotonic()).map(|view| LiveTerminal {
            heard_seconds_ago: view.heard_ago.map(|ago| ago.as_secs()),
            channel_address: view.address,
            epoch: view.epoch,
            pending: view.pending,
            sessions: view.sessions,
        });
        ShownTerminal { record: WrittenRecord::from(record), live: live.filter(|_| record.revoked.is_none()) }
    }

    fn with_store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
