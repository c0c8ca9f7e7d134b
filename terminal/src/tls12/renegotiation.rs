//! The one handshake message that may come after the handshake, the wish to renegotiate: HelloRequest from a server,
//! ClientHello from a client (RFC 5246 sections 7.4.1.1 and 7.4.1.2). Read byte by byte, so that nothing is stored.

use crate::fault::Fault;
use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::HandshakeType;

/// More than the fields of a ClientHello that anybody sends add up to.
const MAX_CLIENT_HELLO: u32 = 0x0001_0000;

/// Where in the stream of handshake messages we are; messages may be split over records.
pub(crate) struct Renegotiation {
    /// We are a client: the peer, a server, says HelloRequest; else ClientHello.
    role: Role,
    read: [u8; 4],
    filled: usize,
    left: u32,
}

impl Renegotiation {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, read: [0; 4], filled: 0, left: 0 }
    }

    /// A message has begun and not ended: only handshake records may follow.
    pub(crate) fn is_partial(&self) -> bool {
        self.filled > 0 || self.left > 0
    }

    /// Reads one record's content; how many wishes ended in it.
    pub(crate) fn feed(&mut self, content: &[u8]) -> Result<u32, Fault> {
        if content.is_empty() {
            return Err(Fault::UnexpectedMessage("an empty handshake record"));
        }
        let mut wishes: u32 = 0;
        let mut rest = content;
        while let Some((&byte, after)) = rest.split_first() {
            if self.left > 0 {
                let skipped = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                rest = rest.get(skipped..).unwrap_or_default();
                self.left = self.left.saturating_sub(u32::try_from(skipped).unwrap_or(u32::MAX));
            } else {
                rest = after;
                if let Some(slot) = self.read.get_mut(self.filled) {
                    *slot = byte;
                }
                self.filled = self.filled.saturating_add(1);
                if self.filled < self.read.len() {
                    continue;
                }
                self.filled = 0;
                self.left = self.length_of_wish()?;
            }
            if self.left == 0 {
                wishes = wishes.saturating_add(1);
            }
        }
        Ok(wishes)
    }

    fn length_of_wish(&self) -> Result<u32, Fault> {
        let [kind, a, b, c] = self.read;
        let length = u32::from_be_bytes([0, a, b, c]);
        match (HandshakeType(kind), self.role) {
            (HandshakeType::HELLO_REQUEST, Role::CLIENT) if length == 0 => Ok(0),
            (HandshakeType::HELLO_REQUEST, Role::CLIENT) => Err(Fault::DecodeError("a HelloRequest that is not empty")),
            (HandshakeType::CLIENT_HELLO, Role::SERVER) if (1..=MAX_CLIENT_HELLO).contains(&length) => Ok(length),
            (HandshakeType::CLIENT_HELLO, Role::SERVER) => {
                Err(Fault::DecodeError("a ClientHello of impossible length"))
            }
            _ => Err(Fault::UnexpectedMessage("a handshake message after the handshake")),
        }
    }
}
