//! What `keyferry terminal` and `keyferry stats` ask of a running gateway. Terminal commands change the
//! store exactly as without a gateway ([`operate`]); here the core and the packet rules learn of it.

use std::sync::PoisonError;

use tokio::sync::oneshot;

use super::{Call, Driver, Input};
use crate::error::{Error, Reason};
use crate::io::admin::{AdminRequest, AdminResponse, LiveTerminal, NewCertificate, ShownTerminal, operate};
use crate::io::clock::unix_seconds;
use crate::io::report;
use crate::io::store::Store;
use crate::terminals::TerminalId;

/// Where an answer goes.
type Reply = oneshot::Sender<AdminResponse>;

impl Driver {
    pub(super) fn answer(&mut self, (request, reply): Call) {
        let response = match &request {
            AdminRequest::Stats => {
                AdminResponse::Stats(report::json(self.gateway.stats(), self.gateway.view(), self.uptime()))
            }
            AdminRequest::Prometheus => {
                AdminResponse::Text(report::prometheus(self.gateway.stats(), self.gateway.view(), self.uptime()))
            }
            AdminRequest::TerminalRevoke { id } => return self.revoke(id, &request, reply),
            AdminRequest::CertificateAdd(new) => self.add_certificate(new, &request),
            AdminRequest::CertificateRemove { id, name } => return self.remove_certificate(id, name, &request, reply),
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
    fn revoke(&mut self, id: &str, request: &AdminRequest, reply: Reply) {
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
        let response = match self.operate(request) {
            AdminResponse::Failed(why) => AdminResponse::Failed(format!(
                "the terminal is cut off until the gateway restarts, but not for good: {why}; mend that and repeat"
            )),
            response => response,
        };
        answer_once(forgotten, id, response, reply);
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
    fn remove_certificate(&mut self, id: &str, name: &str, request: &AdminRequest, reply: Reply) {
        let forgotten = self.keys.forget(id, Some(name));
        let response = self.operate(request);
        if let Ok(terminal) = TerminalId::try_from(id) {
            self.bring_credentials(&terminal);
        }
        answer_once(forgotten, id, response, reply);
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

/// Answers when the private keys are forgotten, or the signer process has let its time pass: it may hang, and the loop
/// must not.
fn answer_once(forgotten: oneshot::Receiver<Result<(), Error>>, id: &str, response: AdminResponse, reply: Reply) {
    let id = id.to_owned();
    tokio::spawn(async move {
        let stopped = |_| Err(Error::new(Reason::SIGNER_UNAVAILABLE, "the gateway stops"));
        let forgotten = forgotten.await.unwrap_or_else(stopped);
        let response = match (response, forgotten) {
            (AdminResponse::Failed(why), _) => AdminResponse::Failed(why),
            (_, Err(error)) => still_with_signer(&id, &error),
            (response, Ok(())) => response,
        };
        // As above: the operator may have given up.
        let _ = reply.send(response);
    });
}

/// Done here, but the signer process has yet to hear of it.
fn still_with_signer(id: &str, why: &Error) -> AdminResponse {
    AdminResponse::Failed(format!("it is done, but the signer still has private keys of {id}: {why}; then repeat this"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use tokio::sync::{mpsc, oneshot};

    use super::super::*;
    use super::*;
    use crate::config::{Host, check};
    use crate::io::clock::stopwatch;
    use crate::io::store::enrol::NewTerminal;

    const CONFIG: &str = r#"
[gateway]
state_directory = "state"
key_file = "store.key"
[network]
terminal_interfaces = ["lo"]
[channel]
listen = ["10.7.1.1:5683"]
"#;

    /// A driver without sockets and packet rules.
    async fn driver(directory: &Path, signer: Option<&Path>) -> Driver {
        let plan = check(&directory.join("keyferry.toml"), CONFIG, 0, Host::Other).config.unwrap().plan();
        let clock = Clock::start();
        let contact = Contact { gateway_id: plan.settings.gateway_id, listen: plan.channel };
        let guard = AddressGuard::new(plan.closed);
        let (input_sender, inputs) = mpsc::channel(QUEUE);
        let store = Arc::new(Mutex::new(Store::open(&plan.state_directory, &plan.key_file).unwrap()));
        Driver {
            gateway: Gateway::new(plan.settings, plan.policy.clone(), guard, None, system_random()).unwrap(),
            clock,
            rules: plan.rules,
            policy: plan.policy,
            revocation: RevocationWatch::new(plan.revocation_lists),
            contact,
            keys: Keys::new(signer, clock),
            records: BTreeMap::new(),
            channel: Channel::open(&[], &input_sender).await.unwrap(),
            flows: Flows::new(Relay, input_sender.clone()),
            workers: Workers::start(1, &input_sender).unwrap(),
            persister: Persister::start(Arc::clone(&store), input_sender.clone()).unwrap(),
            store,
            resolver: Resolver::new(input_sender),
            inputs,
            connections: Connections::none(),
            calls: mpsc::channel(1).1,
        }
    }

    fn ask(driver: &mut Driver, request: AdminRequest) -> oneshot::Receiver<AdminResponse> {
        let (reply, answer) = oneshot::channel();
        driver.answer((request, reply));
        answer
    }

    fn add(driver: &mut Driver) {
        let new = NewTerminal { id: "meter-1".into(), ..NewTerminal::default() };
        assert!(matches!(ask(driver, AdminRequest::TerminalAdd(new)).try_recv(), Ok(AdminResponse::Enrolled(_))));
    }

    fn revoke() -> AdminRequest {
        AdminRequest::TerminalRevoke { id: "meter-1".into() }
    }

    fn remove() -> AdminRequest {
        AdminRequest::CertificateRemove { id: "meter-1".into(), name: "default".into() }
    }

    #[tokio::test]
    async fn a_signer_that_hangs_does_not_hold_the_loop_up() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("signer.sock");
        // Connections wait there for ever.
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut driver = driver(directory.path(), Some(&socket)).await;
        add(&mut driver);
        let before = stopwatch();
        let waiting = [remove(), revoke()].map(|request| ask(&mut driver, request));
        let mut shown = ask(&mut driver, AdminRequest::TerminalShow { id: "meter-1".into() });
        let Ok(AdminResponse::Terminal(shown)) = shown.try_recv() else { panic!("not answered at once") };
        assert!(shown.record.revoked.is_some() && shown.live.is_none(), "cut off before the signer has answered");
        assert!(before.elapsed() < Duration::from_secs(2), "the signer has 2 s for each answer");
        for answer in waiting {
            let Ok(AdminResponse::Failed(why)) = answer.await else { panic!("the keys are not forgotten") };
            assert!(why.contains("the signer still has private keys of meter-1"), "{why}");
        }
    }

    #[tokio::test]
    async fn without_a_signer_process_what_is_done_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let mut driver = driver(directory.path(), None).await;
        add(&mut driver);
        assert!(matches!(ask(&mut driver, remove()).await, Ok(AdminResponse::Refused(_))), "there is none");
        assert!(matches!(ask(&mut driver, revoke()).await, Ok(AdminResponse::Terminal(_))));
        let Ok(AdminResponse::Refused(why)) = ask(&mut driver, revoke()).await else { panic!("revoked twice") };
        assert!(why.contains("revoked already"), "{why}");
    }
}
