//! What the messages of a handshake told so far: it reads them, whoever cut and put them together, into an account.

use std::net::SocketAddr;
use std::time::Duration;

use keyferry_parsers::ParseError;
use keyferry_parsers::tls::{
    CipherSuite, Extension, ExtensionType, Handshake, HandshakeType, Message, ProtocolVersion, ServerHello, ServerName,
};

use super::certificates::{Certificates, printable};
use super::key_exchange;
use super::records::Span;
use crate::replay::account::{Account, MessageEntry, Protocol, Side};

/// What is known of a handshake.
pub(super) struct Told {
    /// What will be printed of it.
    pub(super) account: Account,
    /// Agreed on.
    pub(super) version: Option<ProtocolVersion>,
    /// Chosen.
    pub(super) suite: Option<CipherSuite>,
    /// The highest version that the client offers.
    pub(super) offered_version: Option<ProtocolVersion>,
    pub(super) encrypt_then_mac: bool,
    pub(super) extended_master_secret: bool,
    /// The client wants to send before it knows the answer, and the server lets it.
    pub(super) early_data: EarlyData,
    pub(super) certificate_requested: bool,
    /// The client was asked for a certificate and had none.
    pub(super) no_client_certificate: bool,
    /// Bits of a finite-field key exchange.
    pub(super) dh_bits: Option<usize>,
    /// Bits of the smallest RSA or DSA key that was shown.
    pub(super) smallest_key: Option<usize>,
    /// The hash that a certificate is signed with, if it is a bad one.
    pub(super) weak_signature: Option<&'static str>,
    /// Where the messages are in their streams.
    places: Vec<Span>,
    /// Messages that found no place in the account.
    unlisted: usize,
    most: usize,
}

/// How it stands with early data of TLS 1.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EarlyData {
    #[default]
    None,
    Offered,
    Accepted,
}

/// How a message came.
#[derive(Clone, Copy)]
pub(super) struct Came {
    /// From whom.
    pub(super) from: Side,
    /// When it was complete.
    pub(super) time: Duration,
    /// In how many records.
    pub(super) fragments: u32,
    /// Where in the stream.
    pub(super) span: Span,
}

/// A hello of the client, of TLS or DTLS.
pub(super) struct Offer<'a> {
    pub(super) legacy_version: ProtocolVersion,
    pub(super) random: &'a [u8; 32],
    pub(super) suites: &'a [CipherSuite],
    pub(super) extensions: &'a [Extension<'a>],
}

impl Told {
    pub(super) fn new(protocol: Protocol, initiator: SocketAddr, responder: SocketAddr, most: usize) -> Self {
        Self {
            account: Account::new(protocol, initiator, responder, "client_hello"),
            version: None,
            suite: None,
            offered_version: None,
            encrypt_then_mac: false,
            extended_master_secret: false,
            early_data: EarlyData::None,
            certificate_requested: false,
            no_client_certificate: false,
            dh_bits: None,
            smallest_key: None,
            weak_signature: None,
            places: Vec::new(),
            unlisted: 0,
            most,
        }
    }

    /// TLS 1.3 or one of its drafts was agreed on.
    pub(super) fn is_tls13(&self) -> bool {
        self.version.is_some_and(is_tls13)
    }

    /// Lists a message.
    pub(super) fn list(&mut self, came: Came, kind: &str, bytes: usize, malformed: Option<String>) {
        if self.account.messages.len() >= self.most {
            self.unlisted = self.unlisted.saturating_add(1);
            return;
        }
        self.places.push(came.span);
        self.account.messages.push(MessageEntry {
            t: came.time,
            from: came.from,
            kind: kind.to_owned(),
            message_id: None,
            payloads: Vec::new(),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            retransmission: false,
            fragments: came.fragments,
            malformed,
        });
    }

    /// Those bytes of a stream came another time.
    pub(super) fn retransmitted(&mut self, from: Side, span: Span) {
        for (message, place) in self.account.messages.iter_mut().zip(&self.places) {
            if message.from == from && span.0 <= place.0 && place.1 <= span.1 {
                message.retransmission = true;
            }
        }
    }

    /// Messages that were not listed, as one entry at the end.
    pub(super) fn close_list(&mut self) {
        if self.unlisted > 0
            && let Some(last) = self.account.messages.last_mut()
        {
            last.malformed = Some(format!("{} more messages are not listed", self.unlisted));
        }
    }

    /// Reads a handshake message, header included, and lists it.
    pub(super) fn handshake(&mut self, came: Came, raw: &[u8], certificates: &mut Certificates) {
        let msg_type = HandshakeType(raw.first().copied().unwrap_or_default());
        let result = match msg_type {
            HandshakeType::CLIENT_HELLO => self.client_hello(raw),
            HandshakeType::SERVER_HELLO => return self.server_hello(came, raw),
            _ => self.rest(came.from, msg_type, raw, certificates),
        };
        let malformed = result.err().map(|error| format!("cannot be read: {error}"));
        match msg_type.name() {
            // Of the drafts of TLS 1.3 up to 21.
            None if msg_type.0 == 6 => self.list(came, "hello_retry_request", raw.len(), malformed),
            Some(name) => self.list(came, name, raw.len(), malformed),
            None => self.list(came, &msg_type.to_string(), raw.len(), malformed),
        }
    }

    fn client_hello(&mut self, raw: &[u8]) -> Result<(), ParseError> {
        match Handshake::parse(raw) {
            Ok(Handshake { message: Message::ClientHello(hello), .. }) => self.offer(&Offer {
                legacy_version: hello.legacy_version,
                random: hello.random,
                suites: &hello.cipher_suites,
                extensions: hello.extensions.as_deref().unwrap_or_default(),
            }),
            Ok(_) => {}
            Err(error) => {
                // What is in its place all the same.
                self.account.client_random = raw.get(6..).and_then(<[u8]>::first_chunk).copied();
                return Err(error);
            }
        }
        Ok(())
    }

    /// A hello of the client.
    pub(super) fn offer(&mut self, hello: &Offer<'_>) {
        self.account.client_random = Some(*hello.random);
        self.account.offered = hello.suites.iter().map(|suite| suite_name(*suite)).collect();
        self.offered_version = Some(hello.legacy_version);
        self.early_data = EarlyData::None;
        for extension in hello.extensions {
            match extension {
                Extension::ServerName(names) => {
                    let name = names.iter().find(|name| name.name_type == ServerName::HOST_NAME);
                    self.account.sni = name.map(|name| text(name.name));
                }
                Extension::ApplicationLayerProtocolNegotiation(names) => {
                    self.account.alpn = names.iter().map(|name| text(name)).collect();
                }
                Extension::SupportedVersions(versions) => {
                    // Not what is sent to keep servers from choking on the unknown (RFC 8701).
                    let known = versions.iter().copied().filter(|version| version_name(*version).is_some());
                    self.offered_version = known.max_by_key(|version| rank(*version)).or(self.offered_version);
                }
                Extension::Other { extension_type: ExtensionType::EARLY_DATA, .. } => {
                    self.early_data = EarlyData::Offered;
                }
                _ => {}
            }
        }
        if self.version.is_none() {
            self.account.version = self.offered_version.map(show_version).unwrap_or_default();
        }
    }

    fn server_hello(&mut self, came: Came, raw: &[u8]) {
        if let Some(draft) = key_exchange::DraftServerHello::read(raw) {
            self.account.server_random = Some(draft.random);
            self.chose(draft.version, draft.suite);
            self.account.chosen.group = draft.group.map(|group| group.to_string());
            return self.list(came, "server_hello", raw.len(), None);
        }
        match Handshake::parse(raw) {
            Ok(Handshake { message: Message::ServerHello(hello), .. }) => {
                let kind = if hello.is_hello_retry_request() { "hello_retry_request" } else { "server_hello" };
                self.choice(&hello);
                self.list(came, kind, raw.len(), None);
            }
            Ok(_) => {}
            Err(error) => {
                self.account.server_random = raw.get(6..).and_then(<[u8]>::first_chunk).copied();
                self.version =
                    raw.get(4..).and_then(<[u8]>::first_chunk).map(|v| ProtocolVersion(u16::from_be_bytes(*v)));
                self.list(came, "server_hello", raw.len(), Some(format!("cannot be read: {error}")));
            }
        }
    }

    /// A hello of the server.
    pub(super) fn choice(&mut self, hello: &ServerHello<'_>) {
        self.account.chosen.group = hello.group().map(|group| group.to_string());
        self.chose(hello.version(), hello.cipher_suite);
        if hello.is_hello_retry_request() {
            return;
        }
        self.account.server_random = Some(*hello.random);
        for extension in hello.extensions.iter().flatten() {
            match extension {
                Extension::ExtendedMasterSecret => self.extended_master_secret = true,
                Extension::ApplicationLayerProtocolNegotiation(names) => {
                    self.account.alpn = names.iter().map(|name| text(name)).collect();
                }
                Extension::Other { extension_type: ExtensionType::ENCRYPT_THEN_MAC, .. } => {
                    self.encrypt_then_mac = true
                }
                _ => {}
            }
        }
    }

    fn chose(&mut self, version: ProtocolVersion, suite: CipherSuite) {
        self.version = Some(version);
        self.suite = Some(suite);
        self.account.version = show_version(version);
        let name = suite_name(suite);
        self.account.chosen.hash = key_exchange::hash_of(&name).map(str::to_owned);
        if key_exchange::is_static_rsa(&name) {
            self.account.chosen.auth = Some("RSA key transport".to_owned());
        }
        self.account.chosen.cipher = Some(name);
    }

    fn rest(
        &mut self,
        from: Side,
        msg_type: HandshakeType,
        raw: &[u8],
        certificates: &mut Certificates,
    ) -> Result<(), ParseError> {
        if self.is_tls13() {
            return self.rest_of_tls13(from, raw, certificates);
        }
        match msg_type {
            HandshakeType::CERTIFICATE => {
                let parsed = Handshake::parse_as(ProtocolVersion::TLS_1_2, raw)?;
                if let Message::Certificate12(chain) = parsed.message {
                    self.chain(from, chain.certificate_list.iter().copied(), certificates);
                }
            }
            HandshakeType::CERTIFICATE_REQUEST => self.certificate_requested = true,
            HandshakeType::SERVER_KEY_EXCHANGE => {
                let (version, suite) = (self.version, self.account.chosen.cipher.as_deref().unwrap_or_default());
                let body = raw.get(Handshake::HEADER_LENGTH..).unwrap_or_default();
                let exchange = key_exchange::ServerKeyExchange::read(version, suite, body)?;
                self.account.chosen.group = exchange.group;
                self.account.chosen.auth = exchange.auth;
                self.dh_bits = exchange.dh_bits;
            }
            _ => {}
        }
        Ok(())
    }

    fn rest_of_tls13(&mut self, from: Side, raw: &[u8], certificates: &mut Certificates) -> Result<(), ParseError> {
        match Handshake::parse(raw)?.message {
            Message::Certificate(chain) => {
                self.chain(from, chain.certificate_list.iter().map(|entry| entry.cert_data), certificates);
            }
            Message::CertificateVerify(verify) if from == Side::Responder => {
                self.account.chosen.auth = Some(verify.algorithm.to_string());
            }
            Message::CertificateRequest(_) => self.certificate_requested = true,
            Message::EncryptedExtensions(extensions) => {
                self.account.alpn.clear();
                for extension in &extensions.extensions {
                    match extension {
                        Extension::ApplicationLayerProtocolNegotiation(names) => {
                            self.account.alpn = names.iter().map(|name| text(name)).collect();
                        }
                        Extension::Other { extension_type: ExtensionType::EARLY_DATA, .. } => {
                            self.early_data = EarlyData::Accepted;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn chain<'a>(&mut self, from: Side, chain: impl Iterator<Item = &'a [u8]>, certificates: &mut Certificates) {
        let mut none = true;
        for der in chain.take(MOST_CERTIFICATES) {
            none = false;
            let Some(facts) = certificates.read(from, der) else { continue };
            self.smallest_key = match (self.smallest_key, facts.modulus_bits) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            self.weak_signature = self.weak_signature.or(facts.weak_signature);
            self.account.certificates.push(facts.entry);
        }
        self.no_client_certificate |= none && from == Side::Initiator;
    }
}

/// So many of a chain are read.
const MOST_CERTIFICATES: usize = 16;

/// TLS 1.3 or a draft of it.
pub(super) fn is_tls13(version: ProtocolVersion) -> bool {
    version == ProtocolVersion::TLS_1_3 || version == ProtocolVersion::DTLS_1_3 || version.0 >> 8 == 0x7f
}

/// IANA's name, or the number.
pub(super) fn suite_name(suite: CipherSuite) -> String {
    suite.name().map_or_else(|| format!("{:#06x}", suite.0), str::to_owned)
}

/// As an account has it: `1.3`, `SSL 3.0`.
pub(super) fn show_version(version: ProtocolVersion) -> String {
    version_name(version).unwrap_or_else(|| format!("{:#06x}", version.0))
}

fn version_name(version: ProtocolVersion) -> Option<String> {
    if version.0 >> 8 == 0x7f {
        return Some(format!("1.3 draft {}", version.0 & 0xff));
    }
    let name = version.name()?;
    Some(name.strip_prefix("DTLS ").or_else(|| name.strip_prefix("TLS ")).unwrap_or(name).to_owned())
}

/// Newer versions have higher ones; the numbers of DTLS count down, those of drafts are out of line.
fn rank(version: ProtocolVersion) -> u16 {
    match version.0 >> 8 {
        0x7f => ProtocolVersion::TLS_1_3.0,
        0xfe => !version.0,
        _ => version.0,
    }
}

fn text(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}
