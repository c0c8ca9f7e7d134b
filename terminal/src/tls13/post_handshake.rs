//! Handshake messages after the handshake (RFC 8446 section 4.6), read byte by byte so that nothing is stored:
//! NewSessionTicket is skipped, KeyUpdate is reported, everything else is refused.

use super::fault::Fault;
use keyferry_parsers::tls::HandshakeType;

/// What the fields of a NewSessionTicket can add up to (RFC 8446 section 4.6.1), rounded up.
const MAX_TICKET: u32 = 0x0002_0100;

/// The peer changes its sending key from the next record on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUpdate {
    /// The peer asks that we change ours too.
    pub(crate) update_requested: bool,
}

/// Where in the stream of handshake messages we are; messages may be split over records.
#[derive(Clone, Copy)]
pub(crate) enum PostHandshake {
    /// Within the four bytes of type and length.
    Header { read: [u8; 4], filled: usize },
    /// Within a ticket.
    Ticket { left: u32 },
    /// Before the one byte of a KeyUpdate.
    Update,
}

impl PostHandshake {
    pub(crate) const START: Self = Self::Header { read: [0; 4], filled: 0 };

    /// A message has begun and not ended: only handshake records may follow (RFC 8446 section 5.1).
    pub(crate) fn is_partial(&self) -> bool {
        !matches!(self, Self::Header { filled: 0, .. })
    }

    /// Reads one record's content. A KeyUpdate must end it: what follows is under another key.
    pub(crate) fn feed(&mut self, content: &[u8]) -> Result<Option<KeyUpdate>, Fault> {
        if content.is_empty() {
            return Err(Fault::UnexpectedMessage("an empty handshake record"));
        }
        let mut rest = content;
        while let Some((&byte, after)) = rest.split_first() {
            match *self {
                Self::Header { mut read, filled } => {
                    rest = after;
                    if let Some(slot) = read.get_mut(filled) {
                        *slot = byte;
                    }
                    let filled = filled.saturating_add(1);
                    *self = if filled == read.len() { begin(read)? } else { Self::Header { read, filled } };
                }
                Self::Ticket { left } => {
                    let skipped = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    rest = rest.get(skipped..).unwrap_or_default();
                    let left = left.saturating_sub(u32::try_from(skipped).unwrap_or(u32::MAX));
                    *self = if left == 0 { Self::START } else { Self::Ticket { left } };
                }
                Self::Update => {
                    *self = Self::START;
                    return end_of_update(byte, after).map(Some);
                }
            }
        }
        Ok(None)
    }
}

fn begin([kind, a, b, c]: [u8; 4]) -> Result<PostHandshake, Fault> {
    let length = u32::from_be_bytes([0, a, b, c]);
    match HandshakeType(kind) {
        HandshakeType::NEW_SESSION_TICKET if length == 0 || length > MAX_TICKET => {
            Err(Fault::DecodeError("a NewSessionTicket of impossible length"))
        }
        HandshakeType::NEW_SESSION_TICKET => Ok(PostHandshake::Ticket { left: length }),
        HandshakeType::KEY_UPDATE if length == 1 => Ok(PostHandshake::Update),
        HandshakeType::KEY_UPDATE => Err(Fault::DecodeError("a KeyUpdate of wrong length")),
        HandshakeType::CERTIFICATE_REQUEST => Err(Fault::UnexpectedMessage("a CertificateRequest after the handshake")),
        _ => Err(Fault::UnexpectedMessage("a handshake message after the handshake")),
    }
}

fn end_of_update(request_update: u8, after: &[u8]) -> Result<KeyUpdate, Fault> {
    if !after.is_empty() {
        return Err(Fault::UnexpectedMessage("handshake data behind a KeyUpdate under the old key"));
    }
    match request_update {
        0 => Ok(KeyUpdate { update_requested: false }),
        1 => Ok(KeyUpdate { update_requested: true }),
        _ => Err(Fault::IllegalParameter("KeyUpdate.request_update")),
    }
}

/// The bytes of our own KeyUpdate message.
pub(crate) fn key_update_message(update_requested: bool) -> [u8; 5] {
    [HandshakeType::KEY_UPDATE.0, 0, 0, 1, u8::from(update_requested)]
}
