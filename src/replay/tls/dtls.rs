//! DTLS in datagrams: hellos, and what is in the clear after them.
use super::connection::Shared;
use crate::packet::Datagram;
use crate::replay::account::Account;

/// The handshakes under way.
#[derive(Default)]
pub(super) struct Flows {}

impl Flows {
    pub(super) fn datagram(&mut self, _: &Datagram<'_>, _: &mut Shared, _: &mut dyn FnMut(Account)) -> bool {
        false
    }

    pub(super) fn finish(self, _: &mut dyn FnMut(Account)) {}
}
