//! What goes into a [`Terminal`](super::Terminal) and what comes out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use keyferry_channel::{Instant, Refused, RequestId};
use keyferry_parsers::messages::{
    Binding, Connect, ConnectAnswer, Echo, Failure, Handover, Listen, MessageError, Reason, SessionId, Step,
};
use zeroize::Zeroizing;

/// Something that happened outside. Ids are the caller's, each used once.
pub enum Input<'a> {
    /// A UDP datagram arrived from the gateway.
    Datagram(&'a [u8]),
    /// Ask for a session. Ends in [`Event::Session`] or [`Event::Failed`], with [`Event::Offer`] before.
    Connect {
        /// Named again in every event about it.
        id: RequestId,
        /// Whom to reach, and from which port.
        request: Connect,
    },
    /// TCP was opened without asking, as the gateway's policy allows for this peer: wait for the keys.
    Expect {
        /// Named again in every event about it.
        id: RequestId,
        /// This end of the connection.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// Be a server at a port: [`Event::Listening`] at every consent, [`Event::Incoming`] for every connection, until
    /// [`Input::Cancel`] or [`Event::Failed`]. Announced anew by itself before it lapses.
    Listen {
        /// Named again in every event about it.
        id: RequestId,
        /// The port, and what the terminal can do there.
        listen: Listen,
    },
    /// Assisted mode: the caller holds TCP, the gateway does the handshake from afar. Ends in [`Event::Session`] or
    /// [`Event::Failed`]; in between bytes go both ways, by [`Input::PeerBytes`] and [`Event::ToPeer`].
    Assist {
        /// Named again in every event about it.
        id: RequestId,
        /// Which end, and what is wanted.
        start: Start,
    },
    /// Assisted mode, client: TCP to the peer is open.
    PeerOpened {
        /// The request's number.
        id: RequestId,
        /// Both ends of it.
        binding: Binding,
    },
    /// Assisted mode: the peer sent this. Whatever is handed in here is dealt with, also what lies beyond the handshake:
    /// it comes back as a part of the hand-over's prefix.
    PeerBytes {
        /// The request's number.
        id: RequestId,
        /// The next bytes of the peer's stream.
        bytes: &'a [u8],
    },
    /// Assisted mode: the peer has closed its direction.
    PeerClosed {
        /// The request's number.
        id: RequestId,
    },
    /// A session's [`Event::Ticket`](crate::Event::Ticket): the gateway may resume with it. Nothing is heard of it again.
    Ticket {
        /// The session it came in.
        session: SessionId,
        /// The ticket.
        body: Vec<u8>,
    },
    /// Ask the gateway to send something back: is it there, do we still share a key?
    Echo {
        /// Named again in [`Event::Echoed`].
        id: RequestId,
        /// What comes back.
        echo: Echo,
    },
    /// Forget a request; no event about it follows, and keys that still come for it are refused. A port is given up.
    Cancel {
        /// The request's number.
        id: RequestId,
    },
    /// The moment named by [`Output::Timeout`] has come.
    Timeout,
}

/// How assisted mode begins.
pub enum Start {
    /// The terminal is the client, and will open TCP to the address in [`Event::Assisted`] from the port it names here.
    Client(Connect),
    /// The terminal is the server.
    Server {
        /// What it can do; its seconds mean nothing.
        listen: Listen,
        /// Both ends of the connection that it has accepted.
        binding: Binding,
        /// What the client said first.
        bytes: Vec<u8>,
    },
}

/// Something to do outside. Drain until `Timeout`, also after an error.
pub enum Output {
    /// The channel's encoded state. It MUST be durable before any later output is acted upon.
    Persist(Zeroizing<Vec<u8>>),
    /// A datagram for the gateway.
    Transmit(Vec<u8>),
    /// News for the caller.
    Event(Event),
    /// Nothing more to do until that moment (`None`: until the next input), and what will happen then.
    Timeout(Option<Instant>, &'static str),
}

/// News for the caller.
pub enum Event {
    /// The gateway consents: open TCP to `answer.address` now, from the port that the request named.
    Offer {
        /// The request's number.
        id: RequestId,
        /// The pinned address and how long the offer stands.
        answer: ConnectAnswer,
    },
    /// The keys. Checked: they answer this request, belong to its connection and can be used.
    Session {
        /// The request's number.
        id: RequestId,
        /// For [`Session::new`](crate::Session::new).
        handover: Box<Handover>,
    },
    /// The gateway sends connections that come to this port. Said again at every renewal.
    Listening {
        /// The request's number.
        id: RequestId,
        /// For how long, if it is not renewed; it will be.
        seconds: u32,
    },
    /// The keys of a connection that somebody opened to a port of ours; TCP may come before them or after. Checked, but
    /// for the addresses: they must be those of the accepted connection.
    Incoming {
        /// The number of the [`Input::Listen`].
        id: RequestId,
        /// For [`Session::new`](crate::Session::new).
        handover: Box<Handover>,
    },
    /// Assisted mode: the gateway consents. A client opens TCP to `address` now, from the port that its request named,
    /// and says so by [`Input::PeerOpened`].
    Assisted {
        /// The request's number.
        id: RequestId,
        /// The session that this becomes.
        session: SessionId,
        /// Which of key generation and authentication are needed; never none.
        needed: Vec<Step>,
        /// Client: the peer's address, checked against policy and pinned.
        address: Option<IpAddr>,
    },
    /// Assisted mode: write this to the peer. Also before [`Event::Failed`]: the alert.
    ToPeer {
        /// The request's number.
        id: RequestId,
        /// The next bytes of our stream.
        bytes: Vec<u8>,
    },
    /// Assisted mode: what the gateway needs next has changed. With [`Step::KEY`] the handshake is over, and nothing
    /// more need be read from the peer until the keys are there.
    Needs {
        /// The request's number.
        id: RequestId,
        /// The next step.
        step: Step,
    },
    /// The echo came back.
    Echoed {
        /// The request's number.
        id: RequestId,
    },
    /// There will be no session, no echo, or no further connection to the port.
    Failed {
        /// The request's number.
        id: RequestId,
        /// Whose fault it is and what to change.
        why: Why,
    },
    /// The channel's key advanced.
    Advanced {
        /// The epoch's number.
        epoch: u32,
    },
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The gateway refused, or the session failed between it and the peer.
    Failure(Failure),
    /// The gateway did not answer within [`ANSWER_DEADLINE`](super::ANSWER_DEADLINE).
    GatewaySilent,
    /// The gateway consented, and then neither keys nor a reason came.
    KeysLate,
    /// The gateway sent keys that belong to another connection or that were not asked for.
    UnusableKeys(Reason),
    /// The gateway's answer makes no sense.
    BadAnswer(MessageError),
    /// The gateway's answer names another address than the one asked for.
    WrongAddress,
    /// Assisted mode: the peer does not go on.
    PeerSilent,
    /// Assisted mode: the peer says more than a handshake has.
    PeerOversized,
    /// This terminal has as many requests under way as it can hold.
    TooMany,
    /// This terminal listens at that port already.
    AlreadyListening,
    /// The channel cannot carry the request.
    Channel(Refused),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => fmt_failure(failure, f),
            Self::GatewaySilent => f.write_str(
                "the gateway does not answer: check its address, that it runs, and that this terminal is enrolled there",
            ),
            Self::KeysLate => f.write_str(
                "the gateway consented and then sent no keys: was TCP opened through it, from the announced port?",
            ),
            Self::UnusableKeys(reason) => {
                write!(f, "the gateway's fault: it sent keys that do not fit the request ({reason})")
            }
            Self::BadAnswer(error) => write!(f, "the gateway's fault: its answer cannot be read ({error})"),
            Self::WrongAddress => f.write_str("the gateway's fault: it offers another address than the one asked for"),
            Self::PeerSilent => f.write_str("the peer's fault: it does not go on with the handshake"),
            Self::PeerOversized => f.write_str("the peer's fault: it says more than any handshake has"),
            Self::AlreadyListening => f.write_str("this terminal listens at that port already"),
            Self::TooMany => f.write_str("too many requests under way in this terminal: wait for some to end"),
            Self::Channel(refused) => write!(f, "the channel to the gateway cannot carry the request: {refused}"),
        }
    }
}

impl core::error::Error for Why {}

fn fmt_failure(failure: &Failure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let whose = match failure.reason.0 / 100 {
        1 => "this terminal's fault",
        2 => "the peer's fault",
        3 => "the peer does not fit",
        4 => "the gateway's policy forbids it",
        _ => "the gateway or the path failed",
    };
    write!(f, "{whose}: {}", failure.reason)?;
    match &failure.detail {
        Some(detail) => write!(f, " ({detail})"),
        None => Ok(()),
    }
}
