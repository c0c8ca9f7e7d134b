//! Handshake messages after the handshake (RFC 8446 section 4.6), read byte by byte so that nothing is stored:
//! a server's NewSessionTicket is skipped, or kept when the gateway wants it, KeyUpdate is reported, all else is refused.

use crate::fault::Fault;
use alloc::vec::Vec;
use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::HandshakeType;

/// What the fields of a NewSessionTicket can add up to (RFC 8446 section 4.6.1), rounded up.
const MAX_TICKET: u32 = 0x0002_0100;
/// The longest ticket that is kept; most have 200 bytes.
const MAX_KEPT_TICKET: usize = 4096;

/// The peer changes its sending key from the next record on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUpdate {
    /// The peer asks that we change ours too.
    pub(crate) update_requested: bool,
}

/// Reads messages, which may be split over records and share them.
pub(crate) struct PostHandshake {
    /// Our end: only a client is sent tickets.
    role: Role,
    place: Place,
    /// The ticket being read; `None`: tickets are not kept.
    ticket: Option<Vec<u8>>,
}

/// Where in the stream of handshake messages we are.
#[derive(Clone, Copy)]
enum Place {
    /// Within the four bytes of type and length.
    Header { read: [u8; 4], filled: usize },
    /// Within a ticket.
    Ticket { left: u32 },
    /// Before the one byte of a KeyUpdate.
    Update,
}

impl PostHandshake {
    /// At the start; `keep`: does anybody want the peer's tickets?
    pub(crate) fn new(role: Role, keep: bool) -> Self {
        Self { role, place: Place::START, ticket: keep.then(Vec::new) }
    }

    /// A message has begun and not ended: only handshake records may follow (RFC 8446 section 5.1).
    pub(crate) fn is_partial(&self) -> bool {
        !matches!(self.place, Place::Header { filled: 0, .. })
    }

    /// Reads one record's content; whole NewSessionTicket bodies go to `keep`. A KeyUpdate must end the record: what
    /// follows is under another key.
    pub(crate) fn feed(&mut self, content: &[u8], mut keep: impl FnMut(Vec<u8>)) -> Result<Option<KeyUpdate>, Fault> {
        if content.is_empty() {
            return Err(Fault::UnexpectedMessage("an empty handshake record"));
        }
        let mut rest = content;
        while let Some((&byte, after)) = rest.split_first() {
            match self.place {
                Place::Header { mut read, filled } => {
                    rest = after;
                    if let Some(slot) = read.get_mut(filled) {
                        *slot = byte;
                    }
                    let filled = filled.saturating_add(1);
                    self.place =
                        if filled == read.len() { begin(read, self.role)? } else { Place::Header { read, filled } };
                }
                Place::Ticket { left } => {
                    let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (part, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    rest = after;
                    let left = left.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
                    self.place = if left == 0 { Place::START } else { Place::Ticket { left } };
                    self.collect(part, left == 0).into_iter().for_each(&mut keep);
                }
                Place::Update => {
                    self.place = Place::START;
                    return end_of_update(byte, after).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// A part of a ticket; the whole of it with the `last` one, unless it is too long to be worth keeping.
    fn collect(&mut self, part: &[u8], last: bool) -> Option<Vec<u8>> {
        let ticket = self.ticket.as_mut()?;
        // One byte more than is kept marks a ticket as too long.
        let room = (MAX_KEPT_TICKET + 1).saturating_sub(ticket.len());
        ticket.extend_from_slice(part.get(..room).unwrap_or(part));
        let whole = last.then(|| core::mem::take(ticket))?;
        (whole.len() <= MAX_KEPT_TICKET).then_some(whole)
    }
}

impl Place {
    const START: Self = Self::Header { read: [0; 4], filled: 0 };
}

fn begin([kind, a, b, c]: [u8; 4], role: Role) -> Result<Place, Fault> {
    let length = u32::from_be_bytes([0, a, b, c]);
    match HandshakeType(kind) {
        HandshakeType::NEW_SESSION_TICKET if role != Role::CLIENT => {
            Err(Fault::UnexpectedMessage("a NewSessionTicket from a client"))
        }
        HandshakeType::NEW_SESSION_TICKET if length == 0 || length > MAX_TICKET => {
            Err(Fault::DecodeError("a NewSessionTicket of impossible length"))
        }
        HandshakeType::NEW_SESSION_TICKET => Ok(Place::Ticket { left: length }),
        HandshakeType::KEY_UPDATE if length == 1 => Ok(Place::Update),
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
