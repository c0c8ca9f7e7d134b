//! `keyferry signer` as a process: it signs for the gateway's user, takes keys from root, gives none away, and
//! the gateway lives on when it is gone. Needs root, to be several users.

mod nonsense;
mod restarts;
mod secrets;
mod side_by_side;
mod users;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyferry::crypto::Secret;
use keyferry::io::signer::RemoteSigner;
use keyferry::signer::{Credential, Opened, Purpose, SigningRequest};
use keyferry_parsers::tls::{
    Certificate, CertificateEntry, CipherSuite, ClientHello, EncryptedExtensions, Extension, KeyShareEntry, Message,
    NamedGroup, ProtocolVersion, ServerHello, SignatureScheme,
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

const OWNER: &str = "meter-1";

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
