//! `keyferry signer` as a process: it signs for the gateway's user, takes keys from root, gives none away, and
//! the gateway lives on when it is gone. Needs root, to be several users.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests are tests

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keyferry::crypto::Secret;
use keyferry::error::Reason;
use keyferry::io::signer::frames::{self, Request, Response};
use keyferry::io::signer::{Keys, RemoteSigner};
use keyferry::signer::{Credential, Opened, Purpose, Signer, SigningRequest};
use keyferry_parsers::tls::{
    Certificate, CertificateEntry, CipherSuite, ClientHello, EncryptedExtensions, Extension, KeyShareEntry, Message,
    NamedGroup, ProtocolVersion, ServerHello, SignatureScheme,
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

const OWNER: &str = "meter-1";
/// A user that is nobody's here.
const STRANGER: u32 = 54_321;
const GATEWAY: u32 = 54_322;

/// The process and its directory.
struct Process {
    directory: TempDir,
    child: Option<Child>,
}

impl Process {
    fn start(gateway_user: &str) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        assert!(is_root, "this test has to be several users: run it as root");
        let directory = tempfile::tempdir().unwrap();
        // Others must come as far as the socket, to be refused there.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("run")).unwrap();
        let lines = [
            "[signer]",
            "socket = \"run/signer.sock\"",
            "state_directory = \"state\"",
            "key_file = \"store.key\"",
            &format!("gateway_user = \"{gateway_user}\"\n"),
        ];
        fs::write(directory.path().join("signer.toml"), lines.join("\n")).unwrap();
        let mut process = Self { directory, child: None };
        process.restart();
        process
    }

    fn restart(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.arg("signer").arg("--config").arg(self.path("signer.toml")).stderr(Stdio::piped());
        self.child = Some(command.spawn().unwrap());
        for _ in 0..1000 {
            if UnixStream::connect(self.socket()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the signer did not start: {}", self.kill());
    }

    /// Ends it at once, as a crash would; answers what it logged.
    fn kill(&mut self) -> String {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned()
    }

    fn socket(&self) -> PathBuf {
        self.path("run/signer.sock")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn remote(&self) -> RemoteSigner {
        RemoteSigner::new(&self.socket())
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn credential() -> (Credential, Secret) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["meter-1.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let credential = Credential::new("default", vec![certificate.der().to_vec()]).unwrap();
    (credential, Secret::from_slice(key.serialized_der()))
}

/// A TLS 1.3 server's handshake up to its certificate.
fn request(credential: &Credential, opened: &Opened) -> SigningRequest {
    let scheme = SignatureScheme::ECDSA_SECP256R1_SHA256;
    let share = KeyShareEntry { group: NamedGroup::X25519, key_exchange: &[7; 32] };
    let client = ClientHello {
        legacy_version: ProtocolVersion::TLS_1_2,
        random: &[7; 32],
        legacy_session_id: &[],
        cipher_suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256],
        legacy_compression_methods: &[0],
        extensions: Some(vec![
            Extension::SupportedVersions(vec![ProtocolVersion::TLS_1_3]),
            Extension::SupportedGroups(vec![NamedGroup::X25519]),
            Extension::SignatureAlgorithms(vec![scheme]),
            Extension::KeyShareOffer(vec![share]),
        ]),
    };
    let server = ServerHello {
        legacy_version: ProtocolVersion::TLS_1_2,
        random: &opened.random,
        legacy_session_id_echo: &[],
        cipher_suite: CipherSuite::TLS_AES_128_GCM_SHA256,
        legacy_compression_method: 0,
        extensions: Some(vec![Extension::SelectedVersion(ProtocolVersion::TLS_1_3), Extension::KeyShareAnswer(share)]),
    };
    let entry = CertificateEntry { cert_data: credential.leaf(), extensions: vec![] };
    let mut transcript = Vec::new();
    for message in [
        Message::ClientHello(client),
        Message::ServerHello(server),
        Message::EncryptedExtensions(EncryptedExtensions { extensions: vec![] }),
        Message::Certificate(Certificate { certificate_request_context: &[], certificate_list: vec![entry] }),
    ] {
        message.emit(&mut transcript).unwrap();
    }
    SigningRequest {
        handshake: opened.handshake,
        owner: OWNER.into(),
        credential: credential.id,
        purpose: Purpose::Tls13Server,
        scheme,
        transcript,
        params: vec![],
    }
}

/// What the signer answers another user to one frame; None where it closes the connection.
fn ask_as(uid: u32, socket: &Path, frame: &Request<'_>) -> Option<Response> {
    const CLIENT: &str = "\
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
try:
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
    while piece := s.recv(4096):
        sys.stdout.buffer.write(piece)
except (BrokenPipeError, ConnectionResetError):
    pass
";
    let mut bytes = Vec::new();
    frames::write(&mut bytes, frame).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", CLIENT]).arg(socket).stdin(Stdio::piped()).stdout(Stdio::piped()).uid(uid).gid(uid);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    assert!(status.success(), "the client of user {uid} failed");
    let body = frames::read(&mut stdout.as_slice()).unwrap()?;
    Some(frames::decode(&body).unwrap())
}

fn import<'a>(credential: &'a Credential, private_key: &'a Secret) -> Request<'a> {
    Request::Import {
        owner: OWNER,
        name: &credential.name,
        chain: vec![credential.leaf().into()],
        private_key: private_key.as_bytes().into(),
    }
}

#[track_caller]
fn refused(response: Option<Response>, why: &str) {
    match response {
        Some(Response::Failed { reason, detail }) => {
            assert_eq!(Reason(reason), Reason::SIGNER_REFUSED);
            assert!(detail.contains(why), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_signs_and_survives_a_restart_with_its_keys() {
    let mut process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED);
    remote.import(OWNER, &credential, &private_key).unwrap();
    let opened = remote.open(OWNER).unwrap();
    let signature = remote.sign(&request(&credential, &opened)).unwrap();
    assert!(signature.len() > 60);
    assert_eq!(remote.sign(&request(&credential, &opened)).unwrap_err().reason, Reason::SIGNER_REFUSED);

    let lost = remote.open(OWNER).unwrap();
    process.kill();
    let error = remote.sign(&request(&credential, &lost)).unwrap_err();
    assert_eq!(error.reason, Reason::SIGNER_UNAVAILABLE);
    assert!(error.detail.contains("systemctl status keyferry-signer"), "{error}");
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_UNAVAILABLE);

    process.restart();
    assert_eq!(remote.sign(&request(&credential, &lost)).unwrap_err().reason, Reason::SIGNER_REFUSED, "of before");
    let opened = remote.open(OWNER).unwrap();
    remote.sign(&request(&credential, &opened)).unwrap();

    remote.forget(OWNER, Some("default")).unwrap();
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED);
    process.kill();
    process.restart();
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED, "erased for good");
}

/// A connection that the signer closed while nobody used it is replaced without anybody noticing.
#[test]
fn a_restart_between_two_handshakes_is_not_noticed() {
    let mut process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    remote.import(OWNER, &credential, &private_key).unwrap();
    for _ in 0..3 {
        process.kill();
        process.restart();
        let opened = remote.open(OWNER).unwrap();
        remote.sign(&request(&credential, &opened)).unwrap();
    }
}

#[test]
fn several_threads_are_served_side_by_side() {
    let process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    remote.import(OWNER, &credential, &private_key).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let opened = remote.open(OWNER).unwrap();
                    remote.sign(&request(&credential, &opened)).unwrap();
                }
            });
        }
    });
}

#[test]
fn each_user_may_do_its_part_and_no_more() {
    let process = Process::start(&GATEWAY.to_string());
    let (credential, private_key) = credential();
    process.remote().import(OWNER, &credential, &private_key).unwrap();
    let mode = fs::metadata(process.socket()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o660);
    // From here on the mode keeps nobody out: SO_PEERCRED has to.
    fs::set_permissions(process.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let ask = |uid, frame: &Request<'_>| ask_as(uid, &process.socket(), frame);

    assert!(matches!(ask(GATEWAY, &Request::Open { owner: OWNER, closed: vec![] }), Some(Response::Opened { .. })));
    refused(ask(GATEWAY, &import(&credential, &private_key)), "only root and the signer's own user");
    for frame in [
        Request::Open { owner: OWNER, closed: vec![] },
        Request::Forget { owner: OWNER, name: None },
        import(&credential, &private_key),
    ] {
        assert_eq!(ask(STRANGER, &frame), None);
    }
    // Root brings keys, and is not the gateway here.
    refused(ask(0, &Request::Open { owner: OWNER, closed: vec![] }), "only the gateway's user");
    assert_eq!(ask(0, &import(&credential, &private_key)), Some(Response::Done));
    assert_eq!(ask(GATEWAY, &Request::Forget { owner: OWNER, name: None }), Some(Response::Done));
    refused(ask(GATEWAY, &Request::Open { owner: OWNER, closed: vec![] }), "has no certificate");
}

#[test]
fn nonsense_ends_the_connection_and_not_the_process() {
    let process = Process::start("root");
    for nonsense in [&[0xff; 64][..], &[0, 0, 0, 1, 0xff], &[0, 0, 0, 9], &[0xff, 0xff, 0xff, 0xff]] {
        let mut stream = UnixStream::connect(process.socket()).unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(frames::read(&mut stream).map_or(true, |body| body.is_none()));
    }
    let (credential, private_key) = credential();
    process.remote().import(OWNER, &credential, &private_key).unwrap();
    let (_, others) = self::credential();
    let error = process.remote().import(OWNER, &credential, &others).unwrap_err();
    assert!(error.detail.contains("not that of the certificate"), "{error}");
}

#[test]
fn it_dumps_no_core_and_leaves_no_key_in_the_clear() {
    let mut process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    remote.import(OWNER, &credential, &private_key).unwrap();
    remote.sign(&request(&credential, &remote.open(OWNER).unwrap())).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let log = process.kill();
    assert!(log.contains("signer is up"), "{log}");
    for name in ["state/store.redb", "state/channel.slots", "store.key"] {
        assert_eq!(fs::metadata(process.path(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        assert!(!holds(&fs::read(process.path(name)).unwrap(), &private_key), "{name}");
    }
    assert!(!holds(log.as_bytes(), &private_key));
}

/// The operator's way: the signer gets the private key, the gateway's store does not.
#[test]
fn the_gateways_store_has_no_private_key() {
    let process = Process::start("root");
    let (credential, private_key) = credential();
    let config = r#"
[gateway]
state_directory = "gateway"
key_file = "gateway.key"
admin_socket = "run/admin.sock"
[signer]
socket = "run/signer.sock"
[network]
terminal_interfaces = ["lo"]
[channel]
listen = ["10.7.1.1:5683"]
[trust.plant]
pins = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
[[peer]]
name = "server.example"
ports = [443]
terminals = ["*"]
trust = "plant"
"#;
    fs::write(process.path("keyferry.toml"), config).unwrap();
    fs::write(process.path("chain.pem"), pem("CERTIFICATE", credential.leaf())).unwrap();
    fs::write(process.path("key.pem"), pem("PRIVATE KEY", private_key.as_bytes())).unwrap();
    fs::set_permissions(process.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let keyferry = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        let command = command.current_dir(process.directory.path()).args(["--config", "keyferry.toml"]);
        let output = command.args(arguments).output().unwrap();
        (output.status.success(), [output.stdout, output.stderr].concat())
    };
    let (added, _) = keyferry(&["terminal", "add", OWNER, "--json"]);
    assert!(added);
    let add = ["terminal", "certificate", "add", OWNER, "--chain", "chain.pem", "--key", "key.pem"];
    let (added, text) = keyferry(&add);
    assert!(added && String::from_utf8_lossy(&text).contains("the signer has the private key now"));
    assert!(!holds(&text, &private_key));

    // What the gateway reads at its start, and what it makes of it.
    let mut store = keyferry::io::store::Store::open(&process.path("gateway"), &process.path("gateway.key")).unwrap();
    let stored = store.credentials().unwrap();
    assert_eq!((stored.len(), stored[0].private_key.is_none()), (1, true));
    let keys = Keys::new(Some(&process.socket()), keyferry::io::clock::Clock::start());
    keys.admit(&stored[0]).unwrap();
    let signer: Arc<dyn Signer> = keys.signer();
    signer.sign(&request(&credential, &signer.open(OWNER).unwrap())).unwrap();
    drop(store);
    for name in ["gateway/store.redb", "gateway/channel.slots"] {
        assert!(!holds(&fs::read(process.path(name)).unwrap(), &private_key), "{name}");
    }

    // Revoked without a running gateway: the signer hears of it all the same.
    assert!(keyferry(&["terminal", "revoke", OWNER]).0);
    assert_eq!(signer.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED);
}

fn holds(haystack: &[u8], private_key: &Secret) -> bool {
    // The scalar of an EC key in PKCS#8; the rest of it is structure and the public key.
    let scalar = &private_key.as_bytes()[36..68];
    let text = keyferry::hex::encode(scalar);
    haystack.windows(32).any(|window| window == scalar)
        || haystack.windows(text.len()).any(|window| window == text.as_bytes())
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut command = Command::new("base64");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(der).unwrap();
    let body = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
}
