//! Transcripts of handshakes that never took place, message by message. What the peer alone decides and nobody
//! judges here stands in them as long runs of one byte; see [`is_free`].

use std::sync::Arc;

use keyferry::signer::{Credential, Opened, Purpose, Signer, SigningRequest};
use keyferry_parsers::tls::tls12::{self, ClientCertificateType, ClientKeyExchange, ServerEcdhParams};
use keyferry_parsers::tls::{
    Certificate, CertificateEntry, CertificateRequest, CertificateVerify, CipherSuite, ClientHello,
    EncryptedExtensions, Extension, Finished, KeyShareEntry, Message, NamedGroup, ProtocolVersion, ServerHello,
    SignatureScheme,
};

use super::world::{OWNER, World};

/// The bytes of what nobody judges: they come in runs of 32 and more, and nothing else does.
const FREE: u8 = 0xa7;
const PEER_RANDOM: [u8; 32] = [FREE; 32];
const POINT: [u8; 32] = [FREE; 32];
const SIGNATURE: [u8; 64] = [FREE; 64];
const PEER_CERTIFICATE: [u8; 200] = [FREE; 200];
const SESSION_ID: [u8; 32] = *b"a session id for compatibility's";

/// One handshake.
#[derive(Clone)]
pub struct Scenario {
    pub purpose: Purpose,
    pub credential: Arc<Credential>,
    pub scheme: SignatureScheme,
    pub suite: CipherSuite,
    /// With a HelloRetryRequest.
    pub retried: bool,
    /// With a CertificateRequest of ours (TLS 1.3 server).
    pub asks_client: bool,
}

impl Scenario {
    /// A fresh request over this handshake, which nothing is wrong with.
    pub fn request(&self, world: &World) -> SigningRequest {
        let opened = world.signer.open(OWNER).unwrap();
        self.request_with(&opened)
    }

    pub fn request_with(&self, opened: &Opened) -> SigningRequest {
        SigningRequest {
            handshake: opened.handshake,
            owner: OWNER.into(),
            credential: self.credential.id,
            purpose: self.purpose,
            scheme: self.scheme,
            transcript: self.messages(&opened.random).concat(),
            params: if self.purpose == Purpose::Tls12Server { params() } else { Vec::new() },
        }
    }

    /// Each message of the transcript, whole.
    pub fn messages(&self, random: &[u8; 32]) -> Vec<Vec<u8>> {
        match self.purpose {
            Purpose::Tls13Server | Purpose::Tls13Client => self.tls13(random),
            Purpose::Tls12Server | Purpose::Tls12Client => self.tls12(random),
        }
    }

    fn tls13(&self, random: &[u8; 32]) -> Vec<Vec<u8>> {
        let is_server = self.purpose == Purpose::Tls13Server;
        let (client, server) = if is_server { (&PEER_RANDOM, random) } else { (random, &PEER_RANDOM) };
        let hello = |with_share: bool| {
            let share = KeyShareEntry { group: NamedGroup::X25519, key_exchange: &POINT };
            let extensions = vec![
                Extension::SupportedVersions(vec![ProtocolVersion::TLS_1_3]),
                Extension::SupportedGroups(vec![NamedGroup::X25519]),
                Extension::SignatureAlgorithms(vec![self.scheme]),
                Extension::KeyShareOffer(if with_share { vec![share] } else { vec![] }),
            ];
            emit(&Message::ClientHello(ClientHello {
                legacy_session_id: &SESSION_ID,
                ..self.client_hello(client, extensions)
            }))
        };
        let answer = |random, share: Extension<'_>| {
            let version = Extension::SelectedVersion(ProtocolVersion::TLS_1_3);
            emit(&Message::ServerHello(self.server_hello(random, &SESSION_ID, vec![version, share])))
        };
        let mut messages = Vec::new();
        if self.retried {
            messages.push(hello(false));
            messages.push(answer(&ServerHello::HELLO_RETRY_REQUEST, Extension::KeyShareRequest(NamedGroup::X25519)));
        }
        messages.push(hello(true));
        let share = KeyShareEntry { group: NamedGroup::X25519, key_exchange: &POINT };
        messages.push(answer(server, Extension::KeyShareAnswer(share)));
        messages.push(emit(&Message::EncryptedExtensions(EncryptedExtensions { extensions: vec![] })));
        if self.asks_client || !is_server {
            messages.push(emit(&Message::CertificateRequest(CertificateRequest {
                certificate_request_context: &[],
                extensions: vec![Extension::SignatureAlgorithms(vec![self.scheme])],
            })));
        }
        if !is_server {
            messages.push(certificate13(&PEER_CERTIFICATE));
            let verify = CertificateVerify { algorithm: self.scheme, signature: &SIGNATURE };
            messages.push(emit(&Message::CertificateVerify(verify)));
            let length = self.suite.hash_length().unwrap();
            messages.push(emit(&Message::Finished(Finished { verify_data: &vec![FREE; length] })));
        }
        messages.push(certificate13(self.credential.leaf()));
        messages
    }

    fn tls12(&self, random: &[u8; 32]) -> Vec<Vec<u8>> {
        let is_server = self.purpose == Purpose::Tls12Server;
        let (client, server) = if is_server { (&PEER_RANDOM, random) } else { (random, &PEER_RANDOM) };
        let extensions = vec![
            Extension::SupportedGroups(vec![NamedGroup::X25519]),
            Extension::SignatureAlgorithms(vec![self.scheme]),
            Extension::ExtendedMasterSecret,
        ];
        let mut messages = vec![
            emit(&Message::ClientHello(self.client_hello(client, extensions))),
            emit(&Message::ServerHello(self.server_hello(server, &[], vec![Extension::ExtendedMasterSecret]))),
        ];
        if !is_server {
            let key_exchange = tls12::ServerKeyExchange::Ecdhe {
                params: ServerEcdhParams { named_curve: NamedGroup::X25519, public: &POINT },
                algorithm: self.scheme,
                signature: &SIGNATURE,
            };
            let is_rsa = self.credential.key_kind() == "RSA";
            let kind = if is_rsa { ClientCertificateType::RSA_SIGN } else { ClientCertificateType::ECDSA_SIGN };
            messages.push(certificate12(&PEER_CERTIFICATE));
            messages.push(emit(&Message::ServerKeyExchange(key_exchange)));
            messages.push(emit(&Message::CertificateRequest12(tls12::CertificateRequest {
                certificate_types: vec![kind],
                supported_signature_algorithms: vec![self.scheme],
                certificate_authorities: vec![],
            })));
            messages.push(emit(&Message::ServerHelloDone));
        }
        messages.push(certificate12(self.credential.leaf()));
        if !is_server {
            messages.push(emit(&Message::ClientKeyExchange(ClientKeyExchange::Ecdhe { public: &POINT })));
        }
        messages
    }

    fn client_hello<'a>(&self, random: &'a [u8; 32], extensions: Vec<Extension<'a>>) -> ClientHello<'a> {
        ClientHello {
            legacy_version: ProtocolVersion::TLS_1_2,
            random,
            legacy_session_id: &[],
            cipher_suites: vec![self.suite],
            legacy_compression_methods: &[0],
            extensions: Some(extensions),
        }
    }

    fn server_hello<'a>(
        &self,
        random: &'a [u8; 32],
        session_id: &'a [u8],
        extensions: Vec<Extension<'a>>,
    ) -> ServerHello<'a> {
        ServerHello {
            legacy_version: ProtocolVersion::TLS_1_2,
            random,
            legacy_session_id_echo: session_id,
            cipher_suite: self.suite,
            legacy_compression_method: 0,
            extensions: Some(extensions),
        }
    }
}

/// Every purpose with every kind of key, every signature that fits, and every suite; with and without a retry.
pub fn all(world: &World) -> Vec<Scenario> {
    let mut all = Vec::new();
    for credential in [&world.p256, &world.p384, &world.ed25519, &world.rsa] {
        for &scheme in credential.schemes() {
            for purpose in [Purpose::Tls13Server, Purpose::Tls13Client, Purpose::Tls12Server, Purpose::Tls12Client] {
                all.extend(with(credential, scheme, purpose));
            }
        }
    }
    all
}

fn with(credential: &Arc<Credential>, scheme: SignatureScheme, purpose: Purpose) -> Vec<Scenario> {
    let is_tls13 = matches!(purpose, Purpose::Tls13Server | Purpose::Tls13Client);
    if is_tls13 && scheme.to_string().starts_with("rsa_pkcs1") {
        return Vec::new();
    }
    let suites = match (is_tls13, credential.key_kind()) {
        (true, _) => [0x1301, 0x1302, 0x1303],
        (false, "RSA") => [0xc02f, 0xc030, 0xcca8],
        (false, _) => [0xc02b, 0xc02c, 0xcca9],
    };
    let mut scenarios = Vec::new();
    for suite in suites.map(CipherSuite) {
        let plain =
            Scenario { purpose, credential: Arc::clone(credential), scheme, suite, retried: false, asks_client: false };
        if is_tls13 {
            scenarios.push(Scenario { retried: true, ..plain.clone() });
        }
        scenarios.push(plain);
    }
    scenarios
}

/// `ServerECDHParams` of X25519.
pub fn params() -> Vec<u8> {
    let mut params = Vec::new();
    ServerEcdhParams { named_curve: NamedGroup::X25519, public: &POINT }.emit(&mut params).unwrap();
    params
}

/// Whether the byte at `position` is one that the peer may choose as it likes.
pub fn is_free(bytes: &[u8], position: usize) -> bool {
    let same = |byte: &&u8| **byte == FREE;
    let after = bytes[position..].iter().take_while(same).count();
    let before = bytes[..position].iter().rev().take_while(same).count();
    after > 0 && before + after >= 32
}

pub fn emit(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes).unwrap();
    bytes
}

pub fn certificate13(leaf: &[u8]) -> Vec<u8> {
    emit(&Message::Certificate(Certificate {
        certificate_request_context: &[],
        certificate_list: vec![CertificateEntry { cert_data: leaf, extensions: vec![] }],
    }))
}

fn certificate12(leaf: &[u8]) -> Vec<u8> {
    emit(&Message::Certificate12(tls12::Certificate { certificate_list: vec![leaf] }))
}
