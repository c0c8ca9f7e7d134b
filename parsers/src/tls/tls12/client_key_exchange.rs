//! ClientKeyExchange: the client's public value (RFC 8422 section 5.7).

use alloc::vec::Vec;

use crate::EmitError;
use crate::tls::wire::{opaque, put_vector8};

/// The client's contribution to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKeyExchange<'a> {
    /// ECDHE: a point in the encoding of its group, 1 to 255 bytes.
    Ecdhe {
        /// The public value.
        public: &'a [u8],
    },
    /// Any other kind, as it came: the suite says what it is.
    Other(&'a [u8]),
}

impl<'a> ClientKeyExchange<'a> {
    /// The message does not say what it is. An ECDHE point fills it with a length of one byte; the kinds that RFC 5246
    /// has (RSA, DHE) begin with a length of two bytes, which never looks so.
    pub(in crate::tls) fn parse(body: &'a [u8]) -> Self {
        match body.split_first() {
            Some((length, public)) if !public.is_empty() && usize::from(*length) == public.len() => {
                Self::Ecdhe { public }
            }
            _ => Self::Other(body),
        }
    }

    pub(in crate::tls) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::Ecdhe { public } => put_vector8(out, "ClientKeyExchange.ecdh_Yc", opaque(public)),
            Self::Other(body) => opaque(body)(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives_as;
    use crate::tls::{Message, ProtocolVersion};
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn a_point_is_told_from_what_rsa_and_dhe_send() {
        assert_eq!(ClientKeyExchange::parse(&[2, 7, 8]), ClientKeyExchange::Ecdhe { public: &[7, 8] });
        for length in [0_usize, 1, 128, 255, 256, 257, 512, 768] {
            let body = [&(length as u16).to_be_bytes()[..], &vec![7; length]].concat();
            assert_eq!(ClientKeyExchange::parse(&body), ClientKeyExchange::Other(&body));
        }
        assert_eq!(ClientKeyExchange::parse(&[0]), ClientKeyExchange::Other(&[0]));
        assert_eq!(ClientKeyExchange::parse(&[]), ClientKeyExchange::Other(&[]));
    }

    proptest! {
        #[test]
        fn any_client_key_exchange_survives(public in proptest::collection::vec(any::<u8>(), 1..=255)) {
            let message = Message::ClientKeyExchange(ClientKeyExchange::Ecdhe { public: &public });
            survives_as(ProtocolVersion::TLS_1_2, message);
        }
    }
}
