//! `listen` and its answer: the terminal takes TLS connections at a port, the gateway answers their handshakes
//! (`POST /kf/listen`).

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use super::cbor::{Fields, MapWriter};
use super::connect::{alpn, cipher_suites, oldest_version, put_alpn, put_cipher_suites, put_oldest_version};
use super::{Connect, MessageError};
use crate::tls::{CipherSuite, ProtocolVersion};

/// The terminal's wish to be a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The terminal's TCP port, not 0.
    pub port: u16,
    /// For how many seconds; 0: no longer.
    pub seconds: u32,
    /// Application protocols that the terminal speaks there, up to 16 of 1 to 255 bytes; empty: policy says which.
    pub alpn: Vec<String>,
    /// As in [`Connect`].
    pub cipher_suites: Vec<CipherSuite>,
    /// As in [`Connect`].
    pub oldest_version: ProtocolVersion,
}

impl Listen {
    /// The seconds of a request that names none.
    pub const DEFAULT_SECONDS: u32 = 300;

    /// A request with every default.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            seconds: Self::DEFAULT_SECONDS,
            alpn: Vec::new(),
            cipher_suites: Connect::DEFAULT_CIPHER_SUITES.to_vec(),
            oldest_version: ProtocolVersion::TLS_1_3,
        }
    }

    /// The payload of the request.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(32);
        map.uint(1, self.port);
        if self.seconds != Self::DEFAULT_SECONDS {
            map.uint(2, self.seconds);
        }
        put_alpn(&mut map, &self.alpn);
        put_cipher_suites(&mut map, &self.cipher_suites);
        put_oldest_version(&mut map, self.oldest_version);
        map.finish()
    }

    /// Reads the payload of a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = Fields::parse("listen", bytes)?;
        Ok(Self {
            port: fields.required(1, "port")?.port()?,
            seconds: fields.optional(2, "seconds").map_or(Ok(Self::DEFAULT_SECONDS), |mut value| value.uint())?,
            alpn: alpn(&fields)?,
            cipher_suites: cipher_suites(&fields)?,
            oldest_version: oldest_version(&fields)?,
        })
    }
}

/// The gateway's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAnswer {
    /// Seconds granted; the terminal asks again before they are over.
    pub seconds: u32,
}

impl ListenAnswer {
    /// The payload of the answer.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(8);
        map.uint(2, self.seconds);
        map.finish()
    }

    /// Reads the payload of an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = Fields::parse("listen answer", bytes)?;
        Ok(Self { seconds: fields.required(2, "seconds")?.uint()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{any_suites, any_text, any_version, bytes, problem};
    use super::*;
    use crate::mangle::mangle;
    use crate::messages::Problem;
    use alloc::vec;
    use proptest::prelude::*;

    // Known answers, encoded by another implementation (cbor2 for Python).
    const LISTEN: &str = "a1011920fb";
    const LISTEN_FULL: &str = "a5011920fb02000481626832068219130119130307190303";
    const LISTEN_ANSWER: &str = "a10219012c";

    #[test]
    fn a_request_with_defaults_names_only_the_port() {
        assert_eq!(*Listen::new(8443).encode(), bytes(LISTEN));
        assert_eq!(Listen::decode(&bytes(LISTEN)), Ok(Listen::new(8443)));
    }

    #[test]
    fn a_request_with_everything() {
        let listen = Listen {
            port: 8443,
            seconds: 0,
            alpn: vec!["h2".into()],
            cipher_suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256, CipherSuite::TLS_CHACHA20_POLY1305_SHA256],
            oldest_version: ProtocolVersion::TLS_1_2,
        };
        assert_eq!(*listen.encode(), bytes(LISTEN_FULL));
        assert_eq!(Listen::decode(&bytes(LISTEN_FULL)), Ok(listen));
    }

    #[test]
    fn the_answer_says_for_how_long() {
        let answer = ListenAnswer { seconds: 300 };
        assert_eq!(*answer.encode(), bytes(LISTEN_ANSWER));
        assert_eq!(ListenAnswer::decode(&bytes(LISTEN_ANSWER)), Ok(answer));
        assert_eq!(problem(ListenAnswer::decode(&bytes("a0"))), Problem::Missing);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let refused = |listen: Listen| problem(Listen::decode(&listen.encode()));
        assert_eq!(refused(Listen::new(0)), Problem::Value);
        assert_eq!(refused(Listen { alpn: vec!["a".into(); 17], ..Listen::new(1) }), Problem::Length);
        assert_eq!(refused(Listen { alpn: vec![String::new()], ..Listen::new(1) }), Problem::Length);
        assert_eq!(refused(Listen { cipher_suites: vec![], ..Listen::new(1) }), Problem::Length);
        assert_eq!(
            refused(Listen { oldest_version: ProtocolVersion::TLS_1_1, ..Listen::new(1) }),
            Problem::Unsupported
        );
        assert_eq!(problem(Listen::decode(&bytes("a0"))), Problem::Missing);
        assert_eq!(problem(Listen::decode(&bytes("a201190001021b0000000100000000"))), Problem::Value);
    }

    proptest! {
        #[test]
        fn any_listen_survives(
            port in 1..=u16::MAX,
            seconds: u32,
            alpn in proptest::collection::vec(any_text(255), 0..=16),
            cipher_suites in any_suites(),
            oldest_version in any_version(),
        ) {
            let listen = Listen { port, seconds, alpn, cipher_suites, oldest_version };
            prop_assert_eq!(Listen::decode(&listen.encode()), Ok(listen));
        }
    }

    #[test]
    fn mangled_messages_do_not_panic() {
        for hex in [LISTEN, LISTEN_FULL, LISTEN_ANSWER] {
            mangle(&bytes(hex), |mangled| {
                let _ = (Listen::decode(mangled), ListenAnswer::decode(mangled));
            });
        }
    }
}
