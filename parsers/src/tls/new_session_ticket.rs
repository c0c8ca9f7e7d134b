//! NewSessionTicket: what a later session could resume this one with (RFC 8446 section 4.6.1).

use alloc::vec::Vec;

use super::Extension;
use super::extension::{Within, extensions, put_extensions};
use super::wire::{complete, opaque, put_vector8, put_vector16, u32, vector8, vector16};
use crate::{EmitError, ParseError};

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSessionTicket<'a> {
    /// Seconds of its life.
    pub ticket_lifetime: u32,
    /// Added to its age, so that the age is no clue.
    pub ticket_age_add: u32,
    /// Tells its key apart from that of other tickets.
    pub ticket_nonce: &'a [u8],
    /// The ticket itself.
    pub ticket: &'a [u8],
    /// Extensions in the order they came.
    pub extensions: Vec<Extension<'a>>,
}

impl<'a> NewSessionTicket<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("NewSessionTicket", body, |input| {
            let (input, ticket_lifetime) = u32("NewSessionTicket.ticket_lifetime")(input)?;
            let (input, ticket_age_add) = u32("NewSessionTicket.ticket_age_add")(input)?;
            let (input, ticket_nonce) = vector8("NewSessionTicket.ticket_nonce", 0..=255)(input)?;
            let (input, ticket) = vector16("NewSessionTicket.ticket", 1..=0xffff)(input)?;
            let (input, extensions) = extensions("NewSessionTicket.extensions", Within::NewSessionTicket)(input)?;
            Ok((input, Self { ticket_lifetime, ticket_age_add, ticket_nonce, ticket, extensions }))
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.ticket_lifetime.to_be_bytes());
        out.extend_from_slice(&self.ticket_age_add.to_be_bytes());
        put_vector8(out, "NewSessionTicket.ticket_nonce", opaque(self.ticket_nonce))?;
        put_vector16(out, "NewSessionTicket.ticket", opaque(self.ticket))?;
        put_extensions(out, "NewSessionTicket.extensions", &self.extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives;
    use crate::tls::{ExtensionType, Message};
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_new_session_ticket_survives(
            ticket_lifetime: u32,
            ticket_age_add: u32,
            ticket_nonce in proptest::collection::vec(any::<u8>(), 0..20),
            ticket in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let early_data = Extension::Other { extension_type: ExtensionType::EARLY_DATA, data: &[0, 0, 1, 0] };
            survives(Message::NewSessionTicket(NewSessionTicket {
                ticket_lifetime,
                ticket_age_add,
                ticket_nonce: &ticket_nonce,
                ticket: &ticket,
                extensions: vec![early_data],
            }));
        }
    }
}
