//! KeyUpdate: the sender's next record comes under new keys (RFC 8446 section 4.6.3).

use alloc::vec::Vec;

use super::wire::{complete, u8};
use crate::registry::registry;
use crate::{EmitError, Fault, ParseError};

registry! {
    /// Whether the receiver has to update, too.
    pub struct KeyUpdateRequest(u8), unknown "key update request {}" {
        UPDATE_NOT_REQUESTED = 0, "update_not_requested";
        UPDATE_REQUESTED = 1, "update_requested";
    }
}

/// The sender changes its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUpdate {
    /// Whether the receiver has to answer with its own.
    pub request_update: KeyUpdateRequest,
}

impl KeyUpdate {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let request_update = KeyUpdateRequest(complete("KeyUpdate", body, u8("KeyUpdate.request_update"))?);
        // No value but these two is for the future: the standard wants the connection ended.
        match request_update.name() {
            Some(_) => Ok(Self { request_update }),
            None => Err(ParseError { place: "KeyUpdate.request_update", fault: Fault::Illegal }),
        }
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(self.request_update.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Message;
    use crate::tls::handshake::checks::survives;

    #[test]
    fn both_kinds_survive_and_no_other_exists() {
        for request_update in KeyUpdateRequest::ALL {
            survives(Message::KeyUpdate(KeyUpdate { request_update: *request_update }));
        }
        assert_eq!(KeyUpdate::parse(&[2]).map_err(|error| error.fault), Err(Fault::Illegal));
    }
}
