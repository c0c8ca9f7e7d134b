//! OSCORE request/response pairs per second on one core, in memory, through the whole of both endpoints:
//! request, protect, unprotect, handler, respond, protect, unprotect. The goal is 100,000.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement reads the clock, prints its figure and stops when something is wrong"
)]

use std::time::{Duration, Instant as Clock};

use keyferry_channel::{
    ChannelKey, Code, Endpoint, Event, Id, Input, Instant, Method, Output, RequestId, Settings, State,
};
use zeroize::Zeroizing;

fn main() {
    let mut pair = [endpoint(&[1], &[2]), endpoint(&[2], &[1])];
    (0..1000).for_each(|number| exchange(&mut pair, number));
    // The best of many short rounds: what the code takes, not what else the machine does.
    let rounds = (0..100).map(|_| {
        let start = Clock::now();
        (0..PAIRS).for_each(|number| exchange(&mut pair, number));
        start.elapsed()
    });
    let best = rounds.min().unwrap_or(Duration::MAX);
    println!("channel: {:.0} pairs/s", PAIRS as f64 / best.as_secs_f64());
}

/// One request from the first to the second, answered with its own body.
fn exchange(pair: &mut [Endpoint; 2], number: u64) {
    let now = Instant::from_micros(number);
    let payload = Zeroizing::new(vec![7; 48]);
    let request =
        Input::Request { id: RequestId(number), code: Method::POST, path: &["kf", "echo"], payload, handover: false };
    let [client, server] = pair;
    client.handle_input(now, request).unwrap();
    loop {
        match client.poll_output() {
            Output::Event(Event::Response { .. }) => return while !drained(client) {},
            Output::Transmit(bytes) => {
                // The very first request is challenged: that is an error with an answer.
                let _ = server.handle_input(now, Input::Datagram { bytes: &bytes, path_is_new: false });
            }
            Output::Timeout(..) => panic!("no answer"),
            Output::Persist(_) | Output::Event(_) => {}
        }
        loop {
            match server.poll_output() {
                Output::Event(Event::Request { exchange, payload, .. }) => {
                    server.handle_input(now, Input::Respond { exchange, code: Code::CHANGED, payload }).unwrap();
                }
                Output::Transmit(bytes) => {
                    client.handle_input(now, Input::Datagram { bytes: &bytes, path_is_new: false }).unwrap();
                }
                Output::Timeout(..) => break,
                Output::Persist(_) | Output::Event(_) => {}
            }
        }
    }
}

fn drained(endpoint: &mut Endpoint) -> bool {
    matches!(endpoint.poll_output(), Output::Timeout(..))
}

fn endpoint(own: &[u8], peer: &[u8]) -> Endpoint {
    let settings = Settings {
        own: Id::try_from(own).unwrap(),
        peer: Id::try_from(peer).unwrap(),
        handovers_per_epoch: 8,
        epoch_lifetime: Duration::MAX,
    };
    let state = State::new(ChannelKey::from_bytes([9; 32]));
    Endpoint::new(settings, state, [3; 32], Instant::from_micros(0))
}

const PAIRS: u64 = 2_000;
