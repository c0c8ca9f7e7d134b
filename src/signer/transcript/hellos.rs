//! The hellos, which decide the version, the suite and whose handshake it is.

use keyferry_parsers::tls::{Extension, ExtensionType, Message, ProtocolVersion, RawClientHello, ServerHello};

use super::{Messages, out_of_order, refused};
use crate::error::Error;

/// Whose hello carries the random that the signer gave out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Both hellos, and how the first ClientHello ended where there were two.
pub(super) struct Hellos<'a> {
    pub(super) client: RawClientHello<'a>,
    pub(super) server: ServerHello<'a>,
    /// Bytes of the first ClientHello, which HelloRetryRequest answered.
    pub(super) retried: Option<usize>,
}

impl<'a> Hellos<'a> {
    /// Reads `ClientHello [HelloRetryRequest ClientHello] ServerHello` of the version that `messages` has.
    pub(super) fn read(messages: &mut Messages<'a>, side: Side, random: &[u8; 32]) -> Result<Self, Error> {
        let first = client_hello(messages)?;
        let first_length = messages.position();
        let answer = server_hello(messages)?;
        let hellos = if answer.is_hello_retry_request() {
            let client = client_hello(messages)?;
            let server = server_hello(messages)?;
            check_retry(messages.version, &first, &answer, &client, &server)?;
            Self { client, server, retried: Some(first_length) }
        } else {
            Self { client: first, server: answer, retried: None }
        };
        hellos.check_random(messages.version, side, random)?;
        hellos.check_version(messages.version)?;
        hellos.check_choices()?;
        Ok(hellos)
    }

    /// The hello of `side` carries the random of this handshake. A TLS 1.2 ServerHello may end in the sentinel
    /// against downgrades instead.
    fn check_random(&self, version: ProtocolVersion, side: Side, own: &[u8; 32]) -> Result<(), Error> {
        const TLS_1_2_SENTINEL: &[u8; 8] = b"DOWNGRD\x01";
        let (own_start, _) = own.split_at(24);
        let fits = match side {
            Side::Client => self.client.random == own,
            Side::Server if version == ProtocolVersion::TLS_1_2 && self.server.random.ends_with(TLS_1_2_SENTINEL) => {
                self.server.random.starts_with(own_start)
            }
            Side::Server => self.server.random == own,
        };
        if fits { Ok(()) } else { Err(refused("our hello in the transcript is not that of this handshake")) }
    }

    /// `version` is what was really negotiated (RFC 8446 sections 4.1.2, 4.1.3 and 4.2.1).
    fn check_version(&self, version: ProtocolVersion) -> Result<(), Error> {
        // Without the extension a client offers TLS 1.2 at most.
        let is_offered = self.client.offers_version(version).unwrap_or(version == ProtocolVersion::TLS_1_2);
        let legacy = [self.client.legacy_version, self.server.legacy_version];
        if is_offered && self.server.version() == version && legacy == [ProtocolVersion::TLS_1_2; 2] {
            return Ok(());
        }
        Err(refused(format!("the hellos in the transcript do not agree on {version}")))
    }

    /// What the server chose, the client had offered; and the handshake is one in which a certificate counts.
    fn check_choices(&self) -> Result<(), Error> {
        if !self.client.offers_suite(self.server.cipher_suite) {
            return Err(refused(format!("the client did not offer {}", self.server.cipher_suite)));
        }
        if self.server.legacy_compression_method != 0 || !self.client.legacy_compression_methods.contains(&0) {
            return Err(refused("the hellos in the transcript agree on compression"));
        }
        if has(self.server.extensions.as_deref(), ExtensionType::PRE_SHARED_KEY) {
            return Err(refused("the server took a pre-shared key; then no certificate follows"));
        }
        Ok(())
    }

    /// The server's share is of a group that the client sent a share of.
    pub(super) fn shares_group(&self) -> bool {
        let share = self.server.extensions.iter().flatten().find_map(|extension| match extension {
            Extension::KeyShareAnswer(entry) => Some(entry.group),
            _ => None,
        });
        share.is_some_and(|group| self.client.shares_group(group) && self.client.offers_group(group))
    }
}

fn client_hello<'a>(messages: &mut Messages<'a>) -> Result<RawClientHello<'a>, Error> {
    match messages.next_client_hello()? {
        Some(hello) => Ok(hello),
        None => Err(out_of_order("client_hello", &messages.next()?)),
    }
}

fn server_hello<'a>(messages: &mut Messages<'a>) -> Result<ServerHello<'a>, Error> {
    match messages.next()? {
        Message::ServerHello(hello) => Ok(hello),
        other => Err(out_of_order("server_hello", &other)),
    }
}

/// RFC 8446 sections 4.1.2 and 4.1.4: one retry, in TLS 1.3, that changes nothing of what matters here.
fn check_retry(
    version: ProtocolVersion,
    first: &RawClientHello<'_>,
    retry: &ServerHello<'_>,
    second: &RawClientHello<'_>,
    server: &ServerHello<'_>,
) -> Result<(), Error> {
    let is_sound = version == ProtocolVersion::TLS_1_3
        && retry.version() == ProtocolVersion::TLS_1_3
        && retry.legacy_version == ProtocolVersion::TLS_1_2
        && !server.is_hello_retry_request()
        && retry.cipher_suite == server.cipher_suite
        && retry.legacy_session_id_echo == second.legacy_session_id
        && first.extension(ExtensionType::KEY_SHARE).is_some()
        && match retry.group() {
            Some(group) => server.group() == Some(group),
            None => has(retry.extensions.as_deref(), ExtensionType::COOKIE),
        }
        && as_it_stays(first) == as_it_stays(second);
    if is_sound { Ok(()) } else { Err(refused("the hello_retry_request in the transcript does not fit its hellos")) }
}

/// The hello without what may differ after a HelloRetryRequest.
fn as_it_stays<'a>(hello: &RawClientHello<'a>) -> impl PartialEq + use<'a> {
    const MAY_DIFFER: [ExtensionType; 5] = [
        ExtensionType::KEY_SHARE,
        ExtensionType::COOKIE,
        ExtensionType::EARLY_DATA,
        ExtensionType::PRE_SHARED_KEY,
        ExtensionType::PADDING,
    ];
    let stays = hello.extensions().filter(|(extension_type, _)| !MAY_DIFFER.contains(extension_type));
    let mut extensions: Vec<_> = stays.collect();
    extensions.sort_unstable();
    let &RawClientHello { legacy_version, random, legacy_session_id, .. } = hello;
    let lists = (hello.cipher_suites, hello.legacy_compression_methods);
    (legacy_version, random, legacy_session_id, lists, extensions)
}

pub(super) fn has(extensions: Option<&[Extension<'_>]>, wanted: ExtensionType) -> bool {
    extensions.into_iter().flatten().any(|extension| extension.extension_type() == wanted)
}
