//! NewSessionTicket: what a later session could resume this one with (RFC 5077 section 3.3).

use alloc::vec::Vec;

use crate::tls::wire::{complete, opaque, put_vector16, u32, vector16};
use crate::{EmitError, ParseError};

/// A ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSessionTicket<'a> {
    /// Seconds of its life; 0: not said.
    pub ticket_lifetime_hint: u32,
    /// The ticket itself; empty: the server has none to give after all.
    pub ticket: &'a [u8],
}

impl<'a> NewSessionTicket<'a> {
    pub(in crate::tls) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("NewSessionTicket", body, |input| {
            let (input, ticket_lifetime_hint) = u32("NewSessionTicket.ticket_lifetime_hint")(input)?;
            let (input, ticket) = vector16("NewSessionTicket.ticket", 0..=0xffff)(input)?;
            Ok((input, Self { ticket_lifetime_hint, ticket }))
        })
    }

    pub(in crate::tls) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.ticket_lifetime_hint.to_be_bytes());
        put_vector16(out, "NewSessionTicket.ticket", opaque(self.ticket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives_as;
    use crate::tls::{Message, ProtocolVersion};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_new_session_ticket_survives(hint: u32, ticket in proptest::collection::vec(any::<u8>(), 0..60)) {
            let ticket = NewSessionTicket { ticket_lifetime_hint: hint, ticket: &ticket };
            survives_as(ProtocolVersion::TLS_1_2, Message::NewSessionTicket12(ticket));
        }
    }
}
