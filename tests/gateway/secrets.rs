//! What the gateway tells its operator, in log, statistics and errors, holds no key.

use std::cell::RefCell;
use std::io;
use std::sync::Once;
use std::time::Duration;

use keyferry::gateway::Input;
use keyferry::io::report;
use keyferry_parsers::messages::Listen;

use crate::world::{
    A_WHILE, Caller, Clients, PORT, PeerBehaviour, TERMINAL, Versions, World, both_versions, caller_address,
    server_address, serving,
};

thread_local! {
    /// The log of this test, if it wants one: the subscriber is there for all threads.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged in this thread from now on is kept.
fn capture() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log).init());
    LOG.set(Some(Vec::new()));
}

/// Sessions that succeed and fail, with everything logged.
fn everything_that_was_told() -> (World, String) {
    capture();
    let (mut world, device) = serving(141);
    for number in 0..20 {
        let request = world.establish(device, 40_000 + number);
        world.talk(device, request, b"up", b"down");
    }
    every_other_kind(&mut world, device);
    world.peers.insert(server_address(), PeerBehaviour { stranger: true, ..Default::default() });
    world.connect(device, 41_000);
    world.run(Duration::from_secs(2));
    world.restart_gateway();
    world.peers.insert(server_address(), PeerBehaviour::default());
    world.establish(device, 41_001);
    let id = world.devices[device].record.id.clone();
    world.tell(Input::Revoke(id));

    let mut told = String::from_utf8(LOG.take().unwrap()).unwrap();
    assert!(told.contains("handed over") && told.contains("handshake failed"), "the log was captured");
    told += &report::json(world.gateway.stats(), world.gateway.view(), 1).to_string();
    told += &report::prometheus(world.gateway.stats(), world.gateway.view(), 1);
    let failures = world.devices[0].failures.values();
    told += &failures.map(|why| format!("{why} {why:?}")).collect::<String>();
    (world, told)
}

/// Both versions, both roles, on the path and assisted, with the terminal's certificate.
fn every_other_kind(world: &mut World, device: usize) {
    for (number, versions) in (0..).zip([Versions::Tls12, Versions::Tls13]) {
        let behaviour = PeerBehaviour { versions, clients: Clients::Demanded, ..Default::default() };
        world.peers.insert(server_address(), behaviour);
        world.request(device, both_versions(42_000 + number));
        world.establish_assisted(device, 42_100 + number);
        let caller = Caller { versions, ..Caller::of(TERMINAL) };
        world.answer(device, 52_000 + number, &caller);
        let listen = Listen { oldest_version: both_versions(1).oldest_version, ..Listen::new(PORT) };
        world.assist_server(device, caller_address(52_100 + number), listen, &caller);
        world.run(A_WHILE);
    }
}

/// The ways in which a program may print bytes by mistake.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}").trim_matches(['[', ']']).to_owned();
    let hex_list = format!("{secret:02x?}").trim_matches(['[', ']']).to_owned();
    vec![hex.to_uppercase(), hex, list, hex_list, secret.escape_ascii().to_string()]
}

fn holds(told: &str, secret: &[u8]) -> bool {
    // A part of a key is too much already. Zeros stand for what an IV does not say.
    let mut parts = secret.chunks(8).filter(|part| part.iter().any(|byte| *byte != 0));
    parts.any(|part| spellings(part).iter().any(|spelling| told.contains(spelling)))
}

#[test]
fn no_key_is_told() {
    let (world, told) = everything_that_was_told();
    let device = &world.devices[0];
    assert_eq!(device.keys.len(), 29);
    for keys in device.keys.values() {
        for secret in [&keys.tx_secret, &keys.rx_secret] {
            assert!(!holds(&told, secret), "a traffic secret was told");
            assert!(holds(&format!("{told} {secret:?}"), secret), "and would be found");
        }
    }
    let mut key = keyferry_channel::ChannelKey::from_bytes([1; 32]);
    for epoch in 0..10 {
        assert!(!holds(&told, key.as_bytes()), "the channel key of epoch {epoch} was told");
        key = key.next();
    }
    for key in &world.private_keys {
        // The rest of the PKCS#8 structure is public: algorithm and public key.
        assert_eq!(key[34..36], [0x04, 0x20], "ECPrivateKey.privateKey");
        assert!(!holds(&told, &key[36..68]), "a private key was told");
    }
    for state in world.stored.values() {
        assert!(!holds(&told, &state[7..39]), "the stored channel key was told");
    }
}

/// Names and addresses of terminals are the operator's business at level DEBUG, not in what others may read.
#[test]
fn statistics_name_no_terminal() {
    let (world, _) = everything_that_was_told();
    let json = report::json(world.gateway.stats(), world.gateway.view(), 1).to_string();
    assert!(!json.contains("meter-0") && !json.contains("10.7.1.10"), "{json}");
}
