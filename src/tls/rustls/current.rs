//! Which session this thread computes for.
//!
//! rustls asks for hashes and randomness at `&'static` objects, and for a client certificate at one that all
//! sessions with a resumable peer must share: nothing connects such a call to its connection. But each of
//! them happens inside a call of ours into the connection, on the same thread. So that call leaves the
//! session here, for as long as it lasts.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use super::capture::Capture;

/// Handshake messages as they were hashed, shared between a hash context and this thread; `None` once they are taken
/// for the handshake's one signature.
pub(super) type Messages = Arc<Mutex<Option<Vec<u8>>>>;

struct Current {
    capture: Arc<Capture>,
    /// Of the hash context that was updated last: the handshake's own, since rustls hashes a message right
    /// before it signs.
    messages: Option<Messages>,
    /// How many more requests for 32 random bytes come before that for our hello's random; `None` if none
    /// comes.
    until_hello: Option<usize>,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Calls into the connection of a session. `until_hello`: requests for 32 random bytes that come before
/// the one for our hello's random, if this call can make a hello.
pub(super) fn during<T>(capture: &Arc<Capture>, until_hello: Option<usize>, call: impl FnOnce() -> T) -> T {
    /// Clears also when the call panics, so that no session is left to the next one.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    let _guard = Guard;
    CURRENT.set(Some(Current { capture: capture.clone(), messages: None, until_hello }));
    call()
}

/// The session.
pub(super) fn session() -> Option<Arc<Capture>> {
    CURRENT.with_borrow(|current| current.as_ref().map(|current| current.capture.clone()))
}

/// Takes note of the hash context that was updated.
pub(super) fn updated(messages: &Messages) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(current) = current
            && !current.messages.as_ref().is_some_and(|last| Arc::ptr_eq(last, messages))
        {
            current.messages = Some(messages.clone());
        }
    });
}

/// What the hash context that was updated last has been fed. It keeps no more from then on.
pub(super) fn take_messages() -> Option<Vec<u8>> {
    let messages = CURRENT.with_borrow(|current| current.as_ref()?.messages.clone())?;
    messages.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Counts a request for 32 random bytes; the session if it is the one for our hello's random.
pub(super) fn asks_for_hello_random() -> Option<Arc<Capture>> {
    CURRENT.with_borrow_mut(|current| {
        let current = current.as_mut()?;
        match current.until_hello? {
            0 => {
                current.until_hello = None;
                Some(current.capture.clone())
            }
            left => {
                current.until_hello = Some(left.saturating_sub(1));
                None
            }
        }
    })
}
