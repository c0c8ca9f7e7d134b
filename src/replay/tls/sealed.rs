//! TLS 1.3 without its secrets: what the lengths and the order of protected records tell.

use keyferry_parsers::tls::Record;

use super::handshake::{Handshaking, Next};
use super::key_exchange::hash_of;
use super::story;
use super::told::Came;
use crate::replay::account::Side;

/// Records of a client's last flight; more is data.
const MOST_FLIGHT: u32 = 16;

impl Handshaking {
    /// A protected record that was not opened. A server's flight ends where the client's begins; a client's ends with its
    /// Finished, whose length is known, or when the server answers.
    pub(super) fn sealed_tls13(&mut self, came: Came, record: &Record<'_>) -> Next {
        if self.is_established() {
            return Next::Over;
        }
        let length = record.fragment.len();
        let (finished, alert) = self.lengths();
        let client = self.half(Side::Initiator).sealed;
        let server = self.half(Side::Responder).sealed;
        let kind = match came.from {
            // Early data.
            Side::Initiator if server == 0 => return Next::More,
            Side::Initiator if self.half(Side::Initiator).finished => return Next::Over,
            Side::Initiator if client == 1 && length == alert => "encrypted_alert",
            Side::Initiator => "encrypted_handshake",
            Side::Responder if client == 0 => "encrypted_handshake",
            Side::Responder if length == alert => "encrypted_alert",
            Side::Responder => {
                self.told.established();
                return Next::Over;
            }
        };
        self.told.list(came, kind, length.saturating_add(5), None);
        if kind == "encrypted_alert" {
            let cause = format!(
                "the {} ended the handshake with what looks like an alert, which cannot be read without secrets",
                story::name(came.from)
            );
            self.told.account.fail(story::fault(came.from), cause);
            return Next::Over;
        }
        if came.from == Side::Initiator && (length == finished || client >= MOST_FLIGHT) {
            self.half(Side::Initiator).finished = true;
        }
        Next::More
    }

    /// The connection ended, or the capture: if the client's Finished came, no refusal did.
    pub(super) fn settle_tls13(&mut self) {
        if self.told.is_tls13() && self.half(Side::Initiator).finished && self.half(Side::Responder).sealed > 0 {
            self.told.established();
        }
    }

    /// Of a record with a Finished alone, and with an alert: content, content type and tag.
    fn lengths(&self) -> (usize, usize) {
        let suite = self.told.account.chosen.cipher.as_deref().unwrap_or_default();
        let hash = if hash_of(suite) == Some("SHA384") { 48 } else { 32 };
        let tag = if suite.contains("_CCM_8_") { 8 } else { 16 };
        (4 + hash + 1 + tag, 2 + 1 + tag)
    }
}
