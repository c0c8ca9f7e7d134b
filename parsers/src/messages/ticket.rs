//! `ticket`: a session ticket goes back to the gateway, so that it can resume there (`POST /kf/ticket`).

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::cbor::{Fields, MapWriter};
use super::{MessageError, SessionId};

/// A TLS 1.3 ticket that the peer sent the terminal in a session whose hand-over was `resumable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The session it came in.
    pub session: SessionId,
    /// The body of the NewSessionTicket message, without the header of the handshake message; 1 to 16384 bytes.
    pub body: Vec<u8>,
}

impl Ticket {
    /// The most bytes that `body` may have.
    pub const MAX_BODY: usize = 16384;

    /// The payload of the request.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(self.body.len().saturating_add(16));
        map.bytes(4, &self.body);
        map.uint(5, self.session.0);
        map.finish()
    }

    /// Reads the payload of a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = Fields::parse("ticket", bytes)?;
        Ok(Self {
            session: SessionId(fields.required(5, "session")?.uint()?),
            body: fields.required(4, "ticket")?.bytes(1..=Self::MAX_BODY)?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bytes, problem};
    use super::*;
    use crate::messages::Problem;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn the_ticket_goes_back_with_its_session() {
        // Encoded by another implementation (cbor2 for Python).
        let encoded = bytes("a2044400001c200507");
        let ticket = Ticket { session: SessionId(7), body: bytes("00001c20") };
        assert_eq!(*ticket.encode(), encoded);
        assert_eq!(Ticket::decode(&encoded), Ok(ticket));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let refused =
            |length| problem(Ticket::decode(&Ticket { session: SessionId(7), body: vec![0; length] }.encode()));
        assert_eq!(refused(0), Problem::Length);
        assert_eq!(refused(Ticket::MAX_BODY + 1), Problem::Length);
        assert_eq!(problem(Ticket::decode(&bytes("a10507"))), Problem::Missing);
        assert_eq!(problem(Ticket::decode(&bytes("a1044100"))), Problem::Missing);
    }

    proptest! {
        #[test]
        fn any_ticket_survives(session: u32, body in proptest::collection::vec(any::<u8>(), 1..400)) {
            let ticket = Ticket { session: SessionId(session), body };
            prop_assert_eq!(Ticket::decode(&ticket.encode()), Ok(ticket));
        }

        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Ticket::decode(&bytes);
        }
    }
}
