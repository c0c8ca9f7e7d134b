//! EncryptedExtensions: the server's answers that need not be public (RFC 8446 section 4.3.1).

use alloc::vec::Vec;

use super::Extension;
use super::extension::{Within, extensions, put_extensions};
use super::wire::complete;
use crate::{EmitError, ParseError};

/// What the server says under encryption first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedExtensions<'a> {
    /// Extensions in the order they came.
    pub extensions: Vec<Extension<'a>>,
}

impl<'a> EncryptedExtensions<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let place = "EncryptedExtensions";
        let extensions = complete(place, body, extensions(place, Within::EncryptedExtensions))?;
        Ok(Self { extensions })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        put_extensions(out, "EncryptedExtensions", &self.extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives;
    use crate::tls::{Message, NamedGroup};
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_encrypted_extensions_survive(
            protocol in proptest::collection::vec(any::<u8>(), 1..=255),
            groups in proptest::collection::vec(any::<u16>().prop_map(NamedGroup), 1..9),
        ) {
            survives(Message::EncryptedExtensions(EncryptedExtensions {
                extensions: vec![
                    Extension::ServerNameAcknowledged,
                    Extension::SupportedGroups(groups),
                    Extension::ApplicationLayerProtocolNegotiation(vec![&protocol]),
                ],
            }));
        }
    }
}
