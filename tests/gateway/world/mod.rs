//! Gateway, terminals and TLS peers in memory, with virtual time and a lossy link between gateway and
//! terminals.
//!
//! ```text
//! device    a terminal: the device library and what it was told
//! serving   terminals as servers: certificates, ports, and who connects to them
//! assisted  terminals that carry the bytes of the handshake themselves
//! rogue     a terminal that says on its channel whatever a test wants
//! driver    what src/daemon.rs is on a real machine: does what the gateway wants done
//! peer      unmodified TLS servers and clients, well or badly behaved
//! pki       the certificates of all of them
//! attacker  opens recorded datagrams with stolen keys, by its own reading of RFC 8613
//! ```

mod assisted;
mod attacker;
mod device;
mod driver;
mod peer;
mod pki;
mod rogue;
mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyferry::crypto::SUITES;
use keyferry::gateway::{FlowId, Gateway, Input, LookupId, Settings, Step, Ticket};
use keyferry::policy::{AddressGuard, Network, Policy, Revocation, Rule, Service, TerminalPattern, Trust};
use keyferry::signer::LocalSigner;
use keyferry::terminals::{Path, TerminalId, TerminalRecord};
use keyferry_channel::{ChannelKey, Id, Instant, State};
use keyferry_parsers::tls::NamedGroup;

pub use assisted::both_versions;
pub use attacker::{Datagram, Thief, assert_no_nonce_twice};
pub use device::{Device, read};
pub use driver::{Accepts, Wire};
pub use peer::{Caller, Clients, Peer, PeerBehaviour, Stop, Versions};
pub use pki::{Leaf, Pki};
pub use rogue::Rogue;
pub use serving::{PORT, TERMINAL, caller_address, serving, serving_with};

pub const GATEWAY_ID: &[u8] = &[0];
pub const SERVER: &str = "server.example";
/// Long enough for a session over an undisturbed link.
pub const A_WHILE: Duration = Duration::from_secs(2);

/// What happens to datagrams between terminals and gateway.
#[derive(Clone, Copy, Default)]
pub struct Link {
    pub loss_percent: u8,
    pub duplicate_percent: u8,
    pub delay: Duration,
    /// On top of `delay`, at random.
    pub jitter: Duration,
}

/// What the gateway's disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Works,
    /// Every write fails at once.
    Full,
    /// Writes are neither done nor refused until [`World::thaw`].
    Hangs,
}

/// What the gateway's workers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    Work,
    /// None is free, and the queue is full.
    Overloaded,
    /// They take steps and do nothing until [`World::release_workers`].
    Hang,
}

/// A channel datagram that was sent, whether it arrived or not.
#[derive(Clone)]
pub struct Recorded {
    pub to_gateway: bool,
    pub path: Path,
    pub bytes: Vec<u8>,
}

pub struct World {
    pub now: Instant,
    pub unix: Duration,
    pub gateway: Gateway,
    pub devices: Vec<Device>,
    pub rogues: Vec<Rogue>,
    /// Has the private keys of all terminals.
    pub signer: Arc<LocalSigner>,
    /// The same keys, DER.
    pub private_keys: Vec<Vec<u8>>,
    pub wires: BTreeMap<FlowId, Wire>,
    /// Which server is at which address.
    pub peers: BTreeMap<SocketAddr, PeerBehaviour>,
    pub names: BTreeMap<String, Vec<IpAddr>>,
    pub resolver_hangs: bool,
    pub link: Link,
    /// The gateway's store: channel states, encoded.
    pub stored: BTreeMap<Id, Vec<u8>>,
    pub disk: Disk,
    pub recorded: Vec<Recorded>,
    pub bound: BTreeSet<(TerminalId, IpAddr)>,
    /// The addresses that the packet rules let through: they do not know whose they are.
    pub kernel: std::collections::BTreeSet<IpAddr>,
    /// How often the gateway wanted a connection to a peer.
    pub connects: usize,
    /// How often the gateway wanted a connection to a terminal.
    pub reached: usize,
    /// What the gateway drains from the peer on its way out goes with the keys.
    pub drains_prefix: bool,
    pub pki: Pki,
    pub workers: Workers,
    /// Steps that hanging workers were given.
    held: Vec<Step>,
    /// The servers of `peers` that somebody has connected to.
    servers: BTreeMap<SocketAddr, (PeerBehaviour, Arc<rustls::ServerConfig>)>,
    plan: Plan,
    frozen: Vec<(Ticket, Id, Vec<u8>)>,
    lookups: Vec<(LookupId, String)>,
    in_flight: BTreeMap<(Instant, u64), (Path, bool, Vec<u8>)>,
    deadline: Option<Instant>,
    random: u64,
    next: u64,
    /// The signer's clock: microseconds of `now`.
    clock: Arc<AtomicU64>,
}

/// What a gateway is made from, for the next one after a restart.
struct Plan {
    settings: Settings,
    policy: Policy,
    guard: AddressGuard,
}

impl World {
    /// A gateway with one rule: every terminal may reach [`SERVER`] at 10.7.2.2:443, where a server waits.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| {}, |_| {})
    }

    /// The same, with settings and the rule adjusted.
    pub fn with(seed: u64, settings: impl FnOnce(&mut Settings), rule: impl FnOnce(&mut Rule)) -> Self {
        let pki = Pki::new();
        let mut first = rule_for(&pki);
        rule(&mut first);
        Self::with_rules(seed, settings, pki, vec![first])
    }

    pub fn with_rules(seed: u64, adjust: impl FnOnce(&mut Settings), pki: Pki, rules: Vec<Rule>) -> Self {
        Self::with_services(seed, adjust, pki, rules, Vec::new())
    }

    pub fn with_services(
        seed: u64,
        adjust: impl FnOnce(&mut Settings),
        pki: Pki,
        rules: Vec<Rule>,
        services: Vec<Service>,
    ) -> Self {
        let mut settings = settings();
        adjust(&mut settings);
        let mut guard = AddressGuard::new(vec!["192.168.77.0/24".parse::<Network>().unwrap()]);
        guard.set_gateway([ip("10.7.1.1"), ip("10.7.2.1")]);
        guard.set_terminal_networks(["10.7.1.0/24".parse::<Network>().unwrap()]);
        let plan = Plan { settings, policy: Policy::new(1, rules).with_services(services), guard };
        let clock = Arc::new(AtomicU64::new(1));
        let signer = signer(seed, &clock);
        let peers = BTreeMap::from([(server_address(), PeerBehaviour::default())]);
        Self {
            now: Instant::from_micros(1),
            unix: Duration::from_secs(1_800_000_000),
            gateway: plan.gateway(seed, &signer),
            devices: Vec::new(),
            rogues: Vec::new(),
            signer,
            private_keys: Vec::new(),
            wires: BTreeMap::new(),
            peers,
            names: BTreeMap::from([(SERVER.to_owned(), vec![server_address().ip()])]),
            resolver_hangs: false,
            link: Link { delay: Duration::from_millis(10), ..Link::default() },
            stored: BTreeMap::new(),
            disk: Disk::Works,
            recorded: Vec::new(),
            bound: BTreeSet::new(),
            kernel: Default::default(),
            connects: 0,
            reached: 0,
            drains_prefix: false,
            pki,
            workers: Workers::Work,
            held: Vec::new(),
            servers: BTreeMap::new(),
            plan,
            frozen: Vec::new(),
            lookups: Vec::new(),
            in_flight: BTreeMap::new(),
            deadline: None,
            random: seed ^ 0x5eed,
            next: 0,
            clock,
        }
    }

    /// Admits a terminal `meter-N` at 10.7.1.(10+N) and returns its index.
    pub fn add_device(&mut self) -> usize {
        let address = SocketAddr::new(ip(&format!("10.7.1.{}", 10 + self.devices.len())), 5683);
        self.add_device_at(address, |record| record.addresses = vec![address.ip()])
    }

    /// Admits a terminal that speaks from `address`; `adjust` says what the operator entered.
    pub fn add_device_at(&mut self, address: SocketAddr, adjust: impl FnOnce(&mut TerminalRecord)) -> usize {
        let index = self.devices.len();
        let key = ChannelKey::from_bytes([index as u8 + 1; 32]);
        let mut record = record(&format!("meter-{index}"), &[1, index as u8]);
        adjust(&mut record);
        self.admit(&record, &key);
        let seed = self.random_number();
        self.devices.push(Device::new(record, address, State::new(key), seed, self.now));
        index
    }

    fn admit(&mut self, record: &TerminalRecord, key: &ChannelKey) {
        let state = State::new(key.clone());
        self.stored.insert(record.kid, state.encode().to_vec());
        self.tell(Input::Admit { record: Box::new(record.clone()), state: Box::new(state) });
    }

    /// The terminal comes back with a new id and key on the channel, as the operator gave it.
    pub fn replace_device(&mut self, device: usize, record: TerminalRecord, key: ChannelKey) -> usize {
        let (address, seed) = (self.devices[device].address, self.random_number());
        self.stored.insert(record.kid, State::new(key.clone()).encode().to_vec());
        self.devices[device] = Device::new(record, address, State::new(key), seed, self.now);
        device
    }

    /// The gateway dies and comes back with what is on its disk. Its connections are gone.
    pub fn restart_gateway(&mut self) {
        let seed = self.random_number();
        self.gateway = self.plan.gateway(seed, &self.signer);
        self.frozen.clear();
        self.lookups.clear();
        // The driver installs its rules anew, with the configured addresses only.
        self.bound.clear();
        self.deadline = None;
        self.wires.values_mut().for_each(|wire| wire.reset = true);
        for record in self.devices.iter().map(|device| device.record.clone()).collect::<Vec<_>>() {
            let state = State::decode(&self.stored[&record.kid]).unwrap();
            self.tell(Input::Admit { record: Box::new(record), state: Box::new(state) });
        }
        for device in 0..self.devices.len() {
            self.tell_credentials(device);
        }
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Lets time pass until `done`, and returns how long it took.
    #[track_caller]
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + limit);
        while !done(self) {
            assert!(self.step(end), "not done within {limit:?}");
        }
        self.now.saturating_duration_since(start)
    }

    /// Goes to the next moment at which something happens; false: nothing more until `end`.
    fn step(&mut self, end: Instant) -> bool {
        let arrival = self.in_flight.keys().next().map(|(at, _)| *at);
        let devices = self.devices.iter_mut().filter_map(Device::deadline).min();
        let rogues = self.rogues.iter_mut().filter_map(Rogue::deadline).min();
        let next = [arrival, self.deadline, devices, rogues].into_iter().flatten().min().filter(|at| *at <= end);
        self.advance_to(next.unwrap_or(end).max(self.now));
        next.is_some()
    }

    fn advance_to(&mut self, at: Instant) {
        self.unix += at.saturating_duration_since(self.now);
        self.now = at;
        self.clock.store(at.as_micros(), Ordering::Relaxed);
        while let Some(entry) = self.in_flight.first_entry().filter(|entry| entry.key().0 <= at) {
            let (path, to_gateway, bytes) = entry.remove();
            if to_gateway {
                self.tell(Input::Datagram { path, bytes });
            } else {
                self.arrive(path, &bytes);
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= at) {
            self.tell(Input::Timeout);
            let later = self.deadline.is_none_or(|deadline| deadline > at);
            assert!(later, "the gateway wants to be woken again at the moment it was woken");
        }
        self.wake_devices();
        self.wake_rogues();
    }

    /// Sends bytes from a device to the gateway, or back, over the link.
    pub fn send(&mut self, path: Path, to_gateway: bool, bytes: Vec<u8>) {
        self.recorded.push(Recorded { to_gateway, path, bytes: bytes.clone() });
        let copies = 1 + u8::from(self.chance(self.link.duplicate_percent));
        for _ in 0..copies {
            if self.chance(self.link.loss_percent) {
                continue;
            }
            let jitter = self.link.jitter.mul_f64(f64::from(self.roll(1000)) / 1000.0);
            self.next += 1;
            self.in_flight.insert((self.now + self.link.delay + jitter, self.next), (path, to_gateway, bytes.clone()));
        }
    }

    /// Datagrams that the gateway has sent.
    pub fn sent(&self) -> usize {
        self.recorded.iter().filter(|datagram| !datagram.to_gateway).count()
    }

    fn chance(&mut self, percent: u8) -> bool {
        percent > 0 && self.roll(100) < u32::from(percent)
    }

    /// Between 0 and `sides - 1`.
    pub fn roll(&mut self, sides: u32) -> u32 {
        (self.random_number() >> 32) as u32 % sides
    }

    fn random_number(&mut self) -> u64 {
        next_random(&mut self.random)
    }
}

impl Plan {
    fn gateway(&self, seed: u64, signer: &Arc<LocalSigner>) -> Gateway {
        let mut counter = seed;
        let random = move |out: &mut [u8]| {
            out.iter_mut().for_each(|byte| *byte = (next_random(&mut counter) >> 24) as u8);
        };
        let Self { settings, policy, guard } = self;
        let mut gateway =
            Gateway::new(settings.clone(), policy.clone(), guard.clone(), None, Box::new(random)).unwrap();
        gateway.set_signer(Arc::clone(signer) as _);
        gateway
    }
}

/// A signer without keys, with the world's clock and repeatable randomness.
fn signer(seed: u64, clock: &Arc<AtomicU64>) -> Arc<LocalSigner> {
    let clock = Arc::clone(clock);
    let state = AtomicU64::new(seed ^ 0x51e4);
    Arc::new(LocalSigner::new(
        move || Instant::from_micros(clock.load(Ordering::Relaxed)),
        move |out| {
            let mut number = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            out.iter_mut().for_each(|byte| *byte = (next_random(&mut number) >> 24) as u8);
            state.store(number, Ordering::Relaxed);
            Ok(())
        },
    ))
}

fn record(id: &str, kid: &[u8]) -> TerminalRecord {
    TerminalRecord {
        id: TerminalId::try_from(id).unwrap(),
        kid: Id::try_from(kid).unwrap(),
        group: None,
        addresses: Vec::new(),
        interface: None,
        mac: None,
        shared_address: false,
        created: 0,
        revoked: None,
    }
}

/// The gateway's channel address.
pub fn channel_address() -> SocketAddr {
    SocketAddr::new(ip("10.7.1.1"), 5683)
}

/// Where [`SERVER`] is.
pub fn server_address() -> SocketAddr {
    SocketAddr::new(ip("10.7.2.2"), 443)
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The path of a datagram from `remote` to the gateway.
pub fn from(remote: SocketAddr) -> Path {
    Path { remote, local: channel_address() }
}

/// The rule that every world begins with.
pub fn rule_for(pki: &Pki) -> Rule {
    Rule {
        name: SERVER.to_owned(),
        addresses: Vec::new(),
        ports: vec![443],
        terminals: vec![TerminalPattern::Any],
        trust: trust(pki, "lab").into(),
        alpn: Vec::new(),
        without_request: false,
        key_exchange: vec![NamedGroup::X25519],
        cipher_suites: SUITES.to_vec(),
        session_seconds: 86_400,
        client_certificate: true,
        resumption: false,
    }
}

/// Trust in the CA, under a name of the configuration.
pub fn trust(pki: &Pki, name: &str) -> Trust {
    Trust {
        name: name.to_owned(),
        anchors: vec![pki.anchor()],
        pins: Vec::new(),
        crls: Vec::new(),
        revocation: Revocation::Chain,
    }
}

fn settings() -> Settings {
    Settings {
        gateway_id: Id::try_from(GATEWAY_ID).unwrap(),
        handovers_per_epoch: 8,
        epoch_lifetime: Duration::from_secs(86_400),
        handshake_time: Duration::from_secs(10),
        offer_time: Duration::from_secs(10),
        lookup_time: Duration::from_secs(2),
        delivery_time: Duration::from_secs(60),
        handshakes_per_second: 1000,
        pending_per_terminal: 1000,
        sessions_per_terminal: 10_000,
        pending: 4096,
    }
}

/// splitmix64: repeatable, and good enough to lose packets by.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
