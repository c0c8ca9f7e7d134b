//! The Extensible Authentication payload: an EAP packet (RFC 7296 section 3.16, RFC 3748 section 4).

use alloc::vec::Vec;

use super::{EapCode, EapType};
use crate::ike::wire::{Reader, body, put_sized};
use crate::{EmitError, ParseError};

/// An EAP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eap<'a> {
    /// What it is.
    pub code: EapCode,
    /// The same in a request and its response.
    pub identifier: u8,
    /// What follows the length: in a request or response a type and its data, in success and failure nothing.
    pub data: &'a [u8],
}

impl<'a> Eap<'a> {
    /// Type and data of a request or response; `None` if it is neither, or has no type.
    pub fn typed(&self) -> Option<(EapType, &'a [u8])> {
        match (self.code, self.data) {
            (EapCode::REQUEST | EapCode::RESPONSE, [eap_type, data @ ..]) => Some((EapType(*eap_type), data)),
            _ => None,
        }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let code = EapCode(reader.u8("EAP.code")?);
        let identifier = reader.u8("EAP.identifier")?;
        let length = reader.u16("EAP.length")?;
        let data = body(&mut reader, "EAP.length", length, 4)?;
        reader.finish("EAP")?;
        Ok(Self { code, identifier, data })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        put_sized(out, "EAP.length", [self.code.0, self.identifier], |out| {
            out.extend_from_slice(self.data);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;

    #[test]
    fn packets_survive() {
        let request = Eap { code: EapCode::REQUEST, identifier: 7, data: &[1, b'h', b'i'] };
        assert_eq!(request.typed(), Some((EapType::IDENTITY, &b"hi"[..])));
        survives(Body::Eap(request));
        let success = Eap { code: EapCode::SUCCESS, identifier: 7, data: &[] };
        assert_eq!(success.typed(), None);
        survives(Body::Eap(success));
    }
}
