//! Records into rustls and out of it, by either of its two interfaces. The one for streams serves all sessions but
//! those that may be resumed: only the other one leaves something behind that can take a ticket.

use std::ops::Deref;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, Connection};

/// More than any handshake message that rustls takes, with the record that completes it.
const MOST_WAITING: usize = 1 << 17;

/// A connection of rustls.
pub(super) enum Wire {
    Stream(Box<Connection>),
    Resumable(Box<Resumable>),
}

/// A client's connection, with the records that rustls has not taken yet and the ones that it has made.
pub(super) struct Resumable {
    connection: UnbufferedClientConnection,
    /// rustls keeps positions in it while a message is incomplete: only what it discards may go.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    failed: bool,
}

/// Why a record was not taken.
pub(super) enum Refused {
    /// The peer goes on where it should long have come to an end.
    TooMuch,
    /// rustls says why.
    Because(rustls::Error),
}

impl Wire {
    pub(super) fn resumable(connection: UnbufferedClientConnection) -> Self {
        let mut wire = Box::new(Resumable { connection, incoming: Vec::new(), outgoing: Vec::new(), failed: false });
        // Makes the hello; were there an error, it would come again with the first record.
        let _ = wire.run();
        Self::Resumable(wire)
    }

    /// Takes a record.
    pub(super) fn read(&mut self, mut record: &[u8]) -> Result<(), Refused> {
        match self {
            // rustls takes a few kilobytes at a time and must look at them before it has room for more.
            Self::Stream(connection) => {
                while !record.is_empty() {
                    if !connection.read_tls(&mut record).is_ok_and(|taken| taken > 0) {
                        return Err(Refused::TooMuch);
                    }
                    connection.process_new_packets().map_err(Refused::Because)?;
                }
                Ok(())
            }
            Self::Resumable(wire) => {
                wire.incoming.extend_from_slice(record);
                wire.run().map_err(Refused::Because)?;
                if wire.incoming.len() > MOST_WAITING { Err(Refused::TooMuch) } else { Ok(()) }
            }
        }
    }

    /// Appends what rustls wants to send.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        match self {
            // A vector takes everything, so an error is not possible and zero is the end.
            Self::Stream(connection) => {
                while connection.wants_write() && connection.write_tls(out).is_ok_and(|written| written > 0) {}
            }
            Self::Resumable(wire) => {
                wire.last_words();
                out.append(&mut wire.outgoing);
            }
        }
    }

    /// Tells the peer that this is the end, unless an alert does already; the second interface has no word for it
    /// in a handshake.
    pub(super) fn close(&mut self) {
        if let Self::Stream(connection) = self {
            connection.send_close_notify();
        }
    }

    pub(super) fn is_client(&self) -> bool {
        !matches!(self, Self::Stream(connection) if matches!(**connection, Connection::Server(_)))
    }

    /// The name that a client asked for.
    pub(super) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Stream(connection) => match &**connection {
                Connection::Server(connection) => connection.server_name(),
                Connection::Client(_) => None,
            },
            Self::Resumable(_) => None,
        }
    }

    /// What is left of a session that may be resumed.
    pub(super) fn into_rest(self) -> Result<Option<KernelConnection<ClientConnectionData>>, rustls::Error> {
        match self {
            Self::Stream(_) => Ok(None),
            Self::Resumable(wire) => Ok(Some(wire.connection.dangerous_into_kernel_connection()?.1)),
        }
    }
}

impl Deref for Wire {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Stream(connection) => connection,
            Self::Resumable(wire) => &wire.connection,
        }
    }
}

impl Resumable {
    /// Lets rustls work until it needs more.
    fn run(&mut self) -> Result<(), rustls::Error> {
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.incoming);
            let goes_on = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.outgoing);
                    Ok(true)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(true)
                }
                Ok(_) => Ok(false),
                Err(error) => Err(error),
            };
            self.incoming.drain(..discard.min(self.incoming.len()));
            match goes_on {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }

    /// After an error, what waits to be sent: rustls hands it out before it looks again at what was received, which
    /// it must not do.
    fn last_words(&mut self) {
        while self.failed && self.connection.wants_write() {
            match self.connection.process_tls_records(&mut self.incoming).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing),
                _ => return,
            }
        }
    }
}

/// Appends one piece of what rustls has to say.
fn encode(mut data: EncodeTlsData<'_, ClientConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        out.resize(start.saturating_add(needed.required_size), 0);
        let written = out.get_mut(start..).and_then(|room| data.encode(room).ok()).unwrap_or(0);
        out.truncate(start.saturating_add(written));
    }
}
