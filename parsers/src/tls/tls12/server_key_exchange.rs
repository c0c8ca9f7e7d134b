//! ServerKeyExchange: the server's public value, signed (RFC 8422 section 5.4).

use alloc::vec::Vec;

use crate::registry::registry;
use crate::tls::wire::{Parsed, Trouble, complete, opaque, put_vector8, put_vector16, u8, u16, vector8, vector16};
use crate::tls::{NamedGroup, SignatureScheme};
use crate::{EmitError, Fault, ParseError};

registry! {
    /// How a curve is named.
    pub struct EcCurveType(u8), unknown "curve type {}" {
        EXPLICIT_PRIME = 1, "explicit_prime";
        EXPLICIT_CHAR2 = 2, "explicit_char2";
        NAMED_CURVE = 3, "named_curve";
    }
}

/// The server's contribution to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKeyExchange<'a> {
    /// ECDHE with a named curve.
    Ecdhe {
        /// Curve and public value: what is signed, behind both randoms.
        params: ServerEcdhParams<'a>,
        /// How the signature was made.
        algorithm: SignatureScheme,
        /// The signature.
        signature: &'a [u8],
    },
    /// Any other kind, as it came: the suite says what it is.
    Other(&'a [u8]),
}

impl<'a> ServerKeyExchange<'a> {
    /// The message does not say what it is, but what begins like a named curve must be ECDHE in full. (Of the other kinds
    /// only DHE with a prime of 768 to 1023 bytes begins so, and that nobody is asked for here.)
    pub(in crate::tls) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        if body.first() != Some(&EcCurveType::NAMED_CURVE.0) {
            return Ok(Self::Other(body));
        }
        complete("ServerKeyExchange", body, |input| {
            let (input, params) = params(input)?;
            let (input, algorithm) = u16("ServerKeyExchange.algorithm")(input)?;
            let (input, signature) = vector16("ServerKeyExchange.signature", 0..=0xffff)(input)?;
            Ok((input, Self::Ecdhe { params, algorithm: SignatureScheme(algorithm), signature }))
        })
    }

    pub(in crate::tls) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::Ecdhe { params, algorithm, signature } => {
                params.emit(out)?;
                out.extend_from_slice(&algorithm.0.to_be_bytes());
                put_vector16(out, "ServerKeyExchange.signature", opaque(signature))
            }
            Self::Other(body) => opaque(body)(out),
        }
    }
}

/// `ServerECDHParams` with a named curve, the only form that RFC 8422 left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerEcdhParams<'a> {
    /// The group.
    pub named_curve: NamedGroup,
    /// The public value, in the encoding of the group; 1 to 255 bytes.
    pub public: &'a [u8],
}

impl<'a> ServerEcdhParams<'a> {
    /// Reads parameters alone, as they are before the message is signed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        complete("ServerECDHParams", bytes, params)
    }

    /// Writes them: the bytes that are signed, the same as came.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(EcCurveType::NAMED_CURVE.0);
        out.extend_from_slice(&self.named_curve.0.to_be_bytes());
        put_vector8(out, "ServerECDHParams.public", opaque(self.public))
    }
}

fn params(input: &[u8]) -> Parsed<'_, ServerEcdhParams<'_>> {
    let (input, curve_type) = u8("ServerECDHParams.curve_type")(input)?;
    if EcCurveType(curve_type) != EcCurveType::NAMED_CURVE {
        return Err(Trouble::new("ServerECDHParams.curve_type", Fault::Illegal));
    }
    let (input, named_curve) = u16("ServerECDHParams.namedcurve")(input)?;
    let (input, public) = vector8("ServerECDHParams.public", 1..=255)(input)?;
    Ok((input, ServerEcdhParams { named_curve: NamedGroup(named_curve), public }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives_as;
    use crate::tls::{Message, ProtocolVersion};
    use proptest::prelude::*;

    #[test]
    fn parameters_alone_are_read_too() {
        let bytes = [3, 0, 29, 2, 7, 8];
        let params = ServerEcdhParams::parse(&bytes).unwrap();
        assert_eq!(params, ServerEcdhParams { named_curve: NamedGroup::X25519, public: &[7, 8] });
        let mut emitted = Vec::new();
        params.emit(&mut emitted).unwrap();
        assert_eq!(emitted, bytes);
        let fault = |bytes: &'static [u8]| ServerEcdhParams::parse(bytes).map_err(|error| error.fault);
        assert_eq!(fault(&[1, 0, 29, 2, 7, 8]), Err(Fault::Illegal)); // an explicit curve
        assert_eq!(fault(&[3, 0, 29, 0]), Err(Fault::TooShort));
        assert_eq!(fault(&[3, 0, 29, 2, 7, 8, 9]), Err(Fault::Leftover));
        assert_eq!(fault(&[]), Err(Fault::Truncated));
    }

    #[test]
    fn what_begins_like_ecdhe_must_be_ecdhe() {
        let fault = |bytes: &'static [u8]| ServerKeyExchange::parse(bytes).map_err(|error| error.fault);
        assert_eq!(fault(&[3, 0, 29, 1, 7, 4, 3, 0, 1, 9, 0]), Err(Fault::Leftover));
        assert_eq!(fault(&[3, 0, 29, 1, 7, 4, 3, 0, 2, 9]), Err(Fault::Truncated));
        assert_eq!(fault(&[3]), Err(Fault::Truncated));
        assert_eq!(fault(&[0, 1, 5]), Ok(ServerKeyExchange::Other(&[0, 1, 5])));
        assert_eq!(fault(&[]), Ok(ServerKeyExchange::Other(&[])));
    }

    proptest! {
        #[test]
        fn any_server_key_exchange_survives(
            group: u16,
            public in proptest::collection::vec(any::<u8>(), 1..=255),
            algorithm: u16,
            signature in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let params = ServerEcdhParams { named_curve: NamedGroup(group), public: &public };
            let algorithm = SignatureScheme(algorithm);
            let message = ServerKeyExchange::Ecdhe { params, algorithm, signature: &signature };
            survives_as(ProtocolVersion::TLS_1_2, Message::ServerKeyExchange(message));
        }

        #[test]
        fn any_other_kind_survives(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assume!(body.first() != Some(&3));
            let mut out = Vec::new();
            let parsed = ServerKeyExchange::parse(&body).unwrap();
            parsed.emit(&mut out).unwrap();
            prop_assert_eq!(out, body);
        }
    }
}
