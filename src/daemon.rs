//! The live driver: one loop that gives the gateway core what happens and does what it wants done.
//! Sockets, threads and the clock are `io`'s; what to do is the core's; here is only the wiring.

mod operator;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyferry_channel::State;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;

use crate::error::{Error, Reason};
use crate::gateway::{Gateway, Input, Output, Random, Settings};
use crate::io::admin::{AdminSocket, Call, Contact};
use crate::io::clock::Clock;
use crate::io::path::{Binding, Command, Connection, Connections, Flows, Relay, Rules};
use crate::io::persist::{Persister, Write};
use crate::io::resolver::Resolver;
use crate::io::revocation::{RevocationFiles, RevocationWatch};
use crate::io::signer::Keys;
use crate::io::store::Store;
use crate::io::udp::Channel;
use crate::io::workers::Workers;
use crate::io::{harden, host, keylog::KeyLogFile};
use crate::policy::{AddressGuard, Network, Policy, TerminalRef};
use crate::terminals::{TerminalId, TerminalRecord};
use crate::tls::KeyLog;

/// Inputs that may wait for the loop.
const QUEUE: usize = 4096;
/// How often the host is looked at again: its addresses, and whether our packet rules are still there.
const HOST_INTERVAL: Duration = Duration::from_secs(5);
/// What the gateway is to be, as the configuration says.
pub struct Plan {
    /// The core's settings.
    pub settings: Settings,
    /// Who may talk to whom.
    pub policy: Policy,
    /// Networks no terminal may reach.
    pub closed: Vec<Network>,
    /// Where the revocation lists are that `policy` was made with.
    pub revocation_lists: Vec<RevocationFiles>,
    /// What the kernel is told.
    pub rules: Rules,
    /// Where the channel listens.
    pub channel: Vec<SocketAddr>,
    /// The directory of the store.
    pub state_directory: PathBuf,
    /// The file with the key that seals the store.
    pub key_file: PathBuf,
    /// The operator's socket.
    pub admin_socket: PathBuf,
    /// The socket of the process that has the private keys; None: this one has them.
    pub signer: Option<PathBuf>,
    /// Worker threads; 0: one for each core.
    pub workers: usize,
}

/// What was asked for on the command line beside the configuration.
#[derive(Default)]
pub struct RunOptions {
    /// Writes every session's secrets in the clear.
    pub insecure_keylog: Option<PathBuf>,
}

/// Runs the gateway until SIGTERM or SIGINT. Its nft table stays in force: what it keeps from terminals
/// and from their peers is kept from them while it is away, too.
///
/// # Errors
/// It cannot start; what the operator has to change is named.
pub fn run(plan: Plan, options: &RunOptions) -> Result<(), Error> {
    harden::keep_memory_private().map_err(|error| failed("giving up core dumps", &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("the runtime", &error))?;
    let ran = runtime.block_on(async { Driver::start(plan, options).await?.run().await });
    // A name lookup that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ran
}

struct Driver {
    gateway: Gateway,
    clock: Clock,
    rules: Rules,
    /// For the packet rules: which ports of which terminals are served.
    policy: Policy,
    revocation: RevocationWatch,
    /// What a new terminal is told of us.
    contact: Contact,
    store: Arc<Mutex<Store>>,
    /// Where the terminals' private keys are.
    keys: Keys,
    records: BTreeMap<TerminalId, TerminalRecord>,
    channel: Channel,
    flows: Flows<Relay>,
    workers: Workers,
    persister: Persister,
    resolver: Resolver,
    inputs: mpsc::Receiver<Input>,
    connections: Connections,
    calls: mpsc::Receiver<Call>,
}

impl Driver {
    async fn start(plan: Plan, options: &RunOptions) -> Result<Self, Error> {
        let clock = Clock::start();
        // Before anything can fail: without its rules the machine would forward in the clear.
        plan.rules.install(&[])?;
        let mut store = Store::open(&plan.state_directory, &plan.key_file)?;
        let admitted = admitted(&mut store)?;
        let Plan { settings, policy, closed, rules, .. } = plan;
        let revocation = RevocationWatch::new(plan.revocation_lists);
        let gateway_id = settings.gateway_id;
        let guard = AddressGuard::new(closed);
        let mut gateway = Gateway::new(settings, policy.clone(), guard, key_log(options)?, system_random())?;
        let bindings: Vec<Binding> =
            admitted.iter().flat_map(|(record, _)| configured_bindings(&policy, record)).collect();
        rules.install(&bindings)?;
        let keys = Keys::new(plan.signer.as_deref(), clock);
        gateway.set_signer(keys.signer());
        look_at_host(&mut gateway, &rules);

        let (input_sender, inputs) = mpsc::channel(QUEUE);
        let service_port = Some(rules.service_port).filter(|_| !policy.services().is_empty());
        let connections = Connections::listen(rules.intercept_port, service_port).map_err(|error| {
            failed(&format!("the ports {} and {}", rules.intercept_port, rules.service_port), &error)
        })?;
        let channel =
            Channel::open(&plan.channel, &input_sender).await.map_err(|error| failed("the channel", &error))?;
        let (call_sender, calls) = mpsc::channel(16);
        let admin = AdminSocket::bind(&plan.admin_socket).map_err(|error| failed("the admin socket", &error))?;
        tokio::spawn(admin.serve(call_sender));
        let store = Arc::new(Mutex::new(store));
        let mut driver = Self {
            gateway,
            clock,
            rules,
            policy,
            revocation,
            contact: Contact { gateway_id, listen: plan.channel },
            records: BTreeMap::new(),
            flows: Flows::new(Relay, input_sender.clone()),
            workers: Workers::start(plan.workers, &input_sender)
                .map_err(|error| failed("the worker threads", &error))?,
            persister: Persister::start(Arc::clone(&store), input_sender.clone())
                .map_err(|error| failed("the store's thread", &error))?,
            store,
            keys,
            channel,
            resolver: Resolver::new(input_sender),
            inputs,
            connections,
            calls,
        };
        for (record, state) in admitted {
            let id = record.id.clone();
            driver.admit(record, state);
            driver.bring_credentials(&id);
        }
        tracing::info!(
            terminals = driver.records.len(),
            channel = ?driver.contact.listen,
            interfaces = ?driver.rules.terminal_interfaces,
            "gateway is up"
        );
        Ok(driver)
    }

    async fn run(mut self) -> Result<(), Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed("SIGTERM", &error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed("SIGINT", &error))?;
        let mut host_check = tokio::time::interval(HOST_INTERVAL);
        let mut wake = self.drain();
        loop {
            let asleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(input) = self.inputs.recv() => self.tell(input),
                Some(connection) = self.connections.recv() => self.accepted(connection),
                Some(call) = self.calls.recv() => self.answer(call),
                () = asleep => self.tell(Input::Timeout),
                _ = host_check.tick() => self.look_at_host(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
            wake = self.drain();
        }
        tracing::info!("gateway stops; its packet rules stay in force");
        Ok(())
    }

    fn tell(&mut self, input: Input) {
        if let Input::FlowEnded { flow, .. } = &input {
            self.flows.forget(*flow);
        }
        self.gateway.handle_input(self.clock.now(), input);
    }

    fn look_at_host(&mut self) {
        look_at_host(&mut self.gateway, &self.rules);
        for (trust, lists) in self.revocation.changed() {
            self.tell(Input::RevocationLists { trust, lists });
        }
        if self.rules.are_installed() {
            return;
        }
        tracing::error!("the packet rules were removed, and terminals could speak in the clear; putting them back");
        let bindings: Vec<Binding> =
            self.gateway.bindings().map(|(record, address)| binding(&self.policy, record, address)).collect();
        match self.rules.install(&bindings) {
            Ok(()) => self.gateway.rules_were_restored(),
            Err(error) => tracing::error!(%error, "the packet rules cannot be put back"),
        }
    }

    fn accepted(&mut self, connection: Connection) {
        match self.flows.open(connection) {
            Ok(opened) => self.tell(opened),
            Err(error) => tracing::debug!(%error, "a connection was gone before it was accepted"),
        }
    }

    /// Does all that the core wants done and says when it wants to be woken.
    fn drain(&mut self) -> Option<std::time::Instant> {
        loop {
            match self.gateway.poll_output() {
                Output::Timeout(at, _) => return at.map(|at| self.clock.wake_at(at)),
                Output::Datagram { path, bytes } => self.channel.send(path, &bytes),
                Output::Resolve { lookup, name } => self.resolver.resolve(lookup, name),
                Output::Persist { ticket, kid, state } => self.persister.write(Write { ticket, kid, state }),
                Output::ConnectPeer(flow) => self.flows.tell(flow, Command::ConnectPeer),
                Output::ConnectTerminal(flow) => self.flows.tell(flow, Command::ConnectTerminal),
                Output::ReadPeer(flow) => self.flows.tell(flow, Command::ReadPeer),
                Output::WritePeer { flow, bytes } => self.flows.tell(flow, Command::WritePeer(bytes)),
                Output::Open(flow) => self.flows.tell(flow, Command::Open),
                Output::HandOver(flow) => self.flows.tell(flow, Command::HandOver),
                Output::Reset { flow, last_words } => self.flows.tell(flow, Command::Reset(last_words)),
                Output::Step(step) => {
                    if let Err(overloaded) = self.workers.submit(step) {
                        self.tell(overloaded);
                    }
                }
                Output::Bind { terminal, address } => self.rebind(&terminal, address, Rules::bind),
                Output::Unbind { terminal, address } => self.rebind(&terminal, address, Rules::unbind),
            }
        }
    }

    /// Changes the kernel's idea of whose address this is. The call takes milliseconds, and addresses are
    /// learnt rarely.
    fn rebind(&self, terminal: &TerminalId, address: IpAddr, change: fn(&Rules, &Binding) -> Result<(), Error>) {
        let Some(record) = self.records.get(terminal) else { return };
        if let Err(error) = change(&self.rules, &binding(&self.policy, record, address)) {
            tracing::error!(%terminal, %error, "the packet rules could not be changed");
        }
    }

    fn admit(&mut self, record: TerminalRecord, state: State) {
        self.records.insert(record.id.clone(), record.clone());
        self.tell(Input::Admit { record: Box::new(record), state: Box::new(state) });
    }
}

/// The system's random numbers.
fn system_random() -> Random {
    let system = SystemRandom::new();
    Box::new(move |bytes: &mut [u8]| {
        if system.fill(bytes).is_err() {
            // Going on without randomness would be worse than not going on.
            tracing::error!("the system has no randomness");
            std::process::abort();
        }
    })
}

fn key_log(options: &RunOptions) -> Result<Option<Arc<dyn KeyLog>>, Error> {
    let Some(file) = &options.insecure_keylog else { return Ok(None) };
    tracing::warn!(file = %file.display(), "EVERY SESSION'S SECRETS ARE WRITTEN IN THE CLEAR: whoever reads this file reads the sessions");
    let opened = KeyLogFile::open(file).map_err(|error| failed("the key log", &error))?;
    Ok(Some(Arc::new(opened)))
}

/// Every terminal that is not revoked, with the state of its channel.
fn admitted(store: &mut Store) -> Result<Vec<(TerminalRecord, State)>, Error> {
    let mut admitted = Vec::new();
    for record in store.terminals()? {
        if record.revoked.is_none()
            && let Some(state) = store.channel(record.kid)?
        {
            admitted.push((record, state));
        }
    }
    Ok(admitted)
}

fn configured_bindings(policy: &Policy, record: &TerminalRecord) -> Vec<Binding> {
    record.addresses.iter().map(|address| binding(policy, record, *address)).collect()
}

fn binding(policy: &Policy, record: &TerminalRecord, address: IpAddr) -> Binding {
    let terminal = TerminalRef { id: record.id.as_str(), group: record.group.as_deref() };
    Binding::of(record, address, policy.served_ports(&terminal))
}

fn look_at_host(gateway: &mut Gateway, rules: &Rules) {
    let host = host::look(&rules.terminal_interfaces);
    gateway.set_host(host.addresses, host.terminal_networks);
}

fn failed(what: &str, error: &std::io::Error) -> Error {
    Error::new(Reason::INTERNAL, format!("{what}: {error}"))
}
