//! Our requests on the channel. Each has a number of its own there, because one request of the caller may take several.

use super::table::Table;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use keyferry_channel as channel;
use keyferry_channel::{Endpoint, Instant, Method, Refused, RequestId};
use zeroize::Zeroizing;

/// What a request on the channel is for, and whose: the numbers are the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `connect` or `echo`.
    Ask(RequestId),
    /// A port's announcement.
    Listen(RequestId),
    /// The start of assisted mode.
    Start(RequestId),
    /// A piece of the peer's stream, at this offset.
    Piece(RequestId, u32),
    /// The keys of assisted mode.
    Key(RequestId),
    /// Nobody waits for the answer.
    Nobody,
}

impl Purpose {
    pub(super) fn owner(self) -> Option<RequestId> {
        match self {
            Self::Ask(id) | Self::Listen(id) | Self::Start(id) | Self::Piece(id, _) | Self::Key(id) => Some(id),
            Self::Nobody => None,
        }
    }
}

/// All that are under way, and those that the channel had no room for yet.
#[derive(Default)]
pub(super) struct Exchanges {
    next: u64,
    under_way: Table<Purpose>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: RequestId,
    resource: &'static str,
    payload: Zeroizing<Vec<u8>>,
}

impl Exchanges {
    /// Queues `POST /kf/<resource>`; [`Self::flush`] sends it.
    pub(super) fn post(&mut self, purpose: Purpose, resource: &'static str, payload: Zeroizing<Vec<u8>>) {
        let number = RequestId(self.next);
        self.next = self.next.wrapping_add(1);
        self.under_way.insert(number, purpose);
        self.waiting.push_back(Waiting { number, resource, payload });
    }

    /// Gives the channel as many requests as it takes, in order; those it never will, and why.
    pub(super) fn flush(&mut self, endpoint: &mut Endpoint, now: Instant) -> Vec<(Purpose, Refused)> {
        let mut failed = Vec::new();
        while let Some(Waiting { number, resource, payload }) = self.waiting.front() {
            let request = channel::Input::Request {
                id: *number,
                code: Method::POST,
                path: &["kf", resource],
                payload: payload.clone(),
                handover: false,
            };
            let refused = match endpoint.handle_input(now, request) {
                Err(Refused::Overloaded) => break,
                other => other.err(),
            };
            let purpose = refused.and_then(|_| self.under_way.remove(*number));
            failed.extend(purpose.zip(refused));
            self.waiting.pop_front();
        }
        failed
    }

    /// A request has ended: what it was for, unless it was given up.
    pub(super) fn take(&mut self, number: RequestId) -> Option<Purpose> {
        self.under_way.remove(number)
    }

    /// Gives up all that `owner` has under way.
    pub(super) fn cancel(&mut self, owner: RequestId, endpoint: &mut Endpoint, now: Instant) {
        let owned = self.under_way.iter().filter(|(_, purpose)| purpose.owner() == Some(owner));
        let numbers: Vec<RequestId> = owned.map(|(number, _)| number).collect();
        for number in numbers {
            self.under_way.remove(number);
            self.waiting.retain(|waiting| waiting.number != number);
            // Refused when the channel never had it.
            let _ = endpoint.handle_input(now, channel::Input::Cancel { id: number });
        }
    }
}
