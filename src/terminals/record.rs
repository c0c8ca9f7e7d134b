//! What the gateway durably knows of one terminal, its channel state apart.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use keyferry_channel::Id;

/// The operator's name for a terminal: 1 to 64 printable ASCII characters without spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TerminalId(Arc<str>);

/// A name that cannot be a terminal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a terminal id is 1 to 64 letters, digits or any of . _ - : @")]
pub struct BadTerminalId;

/// One enrolled terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalRecord {
    /// The operator's name for it.
    pub id: TerminalId,
    /// Its OSCORE sender id, never given to another terminal.
    pub kid: Id,
    /// The policy group it belongs to.
    pub group: Option<String>,
    /// The addresses it may use. Empty: its address is learnt from the channel.
    pub addresses: Vec<IpAddr>,
    /// The interface its packets must arrive on.
    pub interface: Option<String>,
    /// The Ethernet address its packets must carry.
    pub mac: Option<[u8; 6]>,
    /// May share an address with other terminals (behind a router of its own).
    pub shared_address: bool,
    /// When it was added, in seconds since 1970.
    pub created: u64,
    /// When it was revoked, in seconds since 1970.
    pub revoked: Option<u64>,
}

impl TerminalId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for TerminalId {
    type Error = BadTerminalId;

    fn try_from(text: &str) -> Result<Self, BadTerminalId> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
            return Err(BadTerminalId);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TerminalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TerminalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_confuse_a_log_or_a_shell_are_refused() {
        for bad in ["", "a b", "x\n", "é", "a/b", &"x".repeat(65)] {
            assert_eq!(TerminalId::try_from(bad), Err(BadTerminalId), "{bad:?}");
        }
        assert_eq!(TerminalId::try_from("meter-17").map(|id| id.to_string()), Ok("meter-17".into()));
    }
}
