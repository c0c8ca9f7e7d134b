//! Links the terminal for a Cortex-M4 and calls all that a device would call, so that the linker keeps what is needed
//! and drops the rest. Nobody runs it; `arm-none-eabi-size` weighs it.
//!
//! It takes Debian's `rustc`, `rust-src` and `binutils-arm-none-eabi`:
//!
//! ```text
//! cd terminal/size && RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 cargo build --release
//! arm-none-eabi-size target/thumbv7em-none-eabi/release/keyferry-terminal-size
//! ```
//! `text` is flash: channel, CBOR, client and server, assisted mode, TLS 1.3 and 1.2 with three AEADs and both hashes, and
//! what they need of `core` and `alloc`.
//! `bss` is the heap of this program, no statement about the library.
#![no_std]
#![no_main]

extern crate alloc;

mod heap;

use alloc::vec::Vec;
use core::hint::black_box;
use core::panic::PanicInfo;
use keyferry_terminal::Instant;
use keyferry_terminal::channel::{ChannelKey, Endpoint, Id, RequestId, Settings, State};
use keyferry_terminal::client::{Event, Input, Output, Start, Terminal};
use keyferry_terminal::messages::{Binding, Connect, Echo, Handover, Listen, PeerName, SessionId};
use keyferry_terminal::{Fault, Session};

#[global_allocator]
static HEAP: heap::Bump = heap::Bump::new();

/// The reset handler, as far as the linker is concerned.
// SAFETY: no other symbol of this program is called `start`.
#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    if let Some(mut terminal) = black_box(terminal()) {
        let mut session = None;
        loop {
            let now = Instant::from_micros(black_box(0));
            for input in black_box(inputs()) {
                let _ = terminal.handle_input(now, input);
                serve(&mut terminal, &mut session, now);
            }
            if let Some(session) = &mut session {
                let _ = exchange(session, now);
            }
        }
    }
    loop {}
}

fn terminal() -> Option<Terminal> {
    let stored: Vec<u8> = black_box(Vec::new());
    let state = State::decode(&stored).unwrap_or_else(|_| State::new(ChannelKey::from_bytes(black_box([0; 32]))));
    let settings = Settings {
        own: Id::try_from(black_box(&[1][..])).ok()?,
        peer: Id::try_from(black_box(&[0][..])).ok()?,
        handovers_per_epoch: 8,
        epoch_lifetime: core::time::Duration::MAX,
    };
    let now = Instant::from_micros(black_box(0));
    Some(Terminal::new(Endpoint::new(settings, state, black_box([0; 32]), now), 4, now))
}

fn inputs() -> [Input<'static>; 13] {
    let request = Connect::new(PeerName::Name(black_box("server.example").into()), 443, black_box(40_000));
    let (local, remote) = black_box((([10, 7, 1, 5], 40_000).into(), ([10, 7, 2, 2], 443).into()));
    let binding = Binding { local, remote };
    let listen = Listen::new(black_box(8443));
    let server = Start::Server { listen: listen.clone(), binding, bytes: black_box(Vec::new()) };
    [
        Input::Listen { id: RequestId(4), listen },
        Input::Assist { id: RequestId(5), start: Start::Client(request.clone()) },
        Input::Assist { id: RequestId(6), start: server },
        Input::PeerOpened { id: RequestId(5), binding },
        Input::PeerBytes { id: RequestId(5), bytes: black_box(&[]) },
        Input::PeerClosed { id: RequestId(5) },
        Input::Ticket { session: SessionId(7), body: black_box(Vec::new()) },
        Input::Connect { id: RequestId(1), request },
        Input::Datagram(black_box(&[])),
        Input::Expect { id: RequestId(2), local, remote },
        Input::Echo { id: RequestId(3), echo: Echo(black_box(Vec::new())) },
        Input::Cancel { id: RequestId(2) },
        Input::Timeout,
    ]
}

fn serve(terminal: &mut Terminal, session: &mut Option<Session>, now: Instant) {
    loop {
        match terminal.poll_output() {
            Output::Persist(state) => drop(black_box(state)),
            Output::Transmit(datagram) => drop(black_box(datagram)),
            Output::Event(Event::Session { handover, .. } | Event::Incoming { handover, .. }) => {
                *session = take_over(*handover, now)
            }
            Output::Event(event) => drop(black_box(event)),
            Output::Timeout(at, _) => {
                black_box(at);
                return;
            }
        }
    }
}

fn take_over(handover: Handover, now: Instant) -> Option<Session> {
    Session::new(handover, now).ok()
}

fn exchange(session: &mut Session, now: Instant) -> Result<(), Fault> {
    let mut out = Vec::new();
    let mut received: &[u8] = black_box(&[]);
    while let Some(event) = session.open(now, &mut received)? {
        black_box(event);
    }
    session.seal(now, black_box(b"reading"), &mut out)?;
    session.key_update(now, &mut out)?;
    session.close(&mut out)?;
    session.drain(&mut out);
    black_box(out);
    Ok(())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
