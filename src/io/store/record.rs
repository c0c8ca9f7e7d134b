//! How a terminal's record is written: as JSON, in the store (sealed) and to the operator alike.

use std::net::IpAddr;

use keyferry_channel::Id;
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::terminals::{TerminalId, TerminalRecord};

/// A [`TerminalRecord`] in text form. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenRecord {
    /// The operator's name for it.
    pub id: String,
    /// Its OSCORE sender id, hexadecimal.
    pub kid: String,
    /// The policy group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The addresses it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The interface its packets must arrive on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The Ethernet address its packets must carry, as 02:00:00:00:00:01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// May share an address with other terminals.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_address: bool,
    /// When it was added, in seconds since 1970.
    pub created: u64,
    /// When it was revoked, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

impl From<&TerminalRecord> for WrittenRecord {
    fn from(record: &TerminalRecord) -> Self {
        Self {
            id: record.id.to_string(),
            kid: hex::encode(record.kid.as_bytes()),
            group: record.group.clone(),
            addresses: record.addresses.clone(),
            interface: record.interface.clone(),
            mac: record.mac.map(write_mac),
            shared_address: record.shared_address,
            created: record.created,
            revoked: record.revoked,
        }
    }
}

impl WrittenRecord {
    /// The record, None where a field cannot be one's.
    pub fn read(self) -> Option<TerminalRecord> {
        let mac = match &self.mac {
            Some(mac) => Some(read_mac(mac)?),
            None => None,
        };
        Some(TerminalRecord {
            id: TerminalId::try_from(self.id.as_str()).ok()?,
            kid: Id::try_from(hex::decode(&self.kid)?.as_slice()).ok()?,
            group: self.group,
            addresses: self.addresses,
            interface: self.interface,
            mac,
            shared_address: self.shared_address,
            created: self.created,
            revoked: self.revoked,
        })
    }
}

/// Writes an Ethernet address as 02:00:00:00:00:01.
pub fn write_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads an Ethernet address: six pairs of hexadecimal digits between colons or hyphens.
pub fn read_mac(text: &str) -> Option<[u8; 6]> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    if parts.iter().any(|part| part.len() != 2) {
        return None;
    }
    hex::decode(&parts.concat())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = TerminalRecord {
            id: TerminalId::try_from("meter-1").unwrap(),
            kid: Id::try_from([1, 0].as_slice()).unwrap(),
            group: Some("sensors".into()),
            addresses: vec!["10.7.1.10".parse().unwrap(), "fd07:1::10".parse().unwrap()],
            interface: Some("term0".into()),
            mac: Some([2, 0, 0, 0, 0xab, 1]),
            shared_address: true,
            created: 5,
            revoked: Some(6),
        };
        let text = serde_json::to_string(&WrittenRecord::from(&record)).unwrap();
        let read: WrittenRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read.read(), Some(record));
        let least: WrittenRecord = serde_json::from_str(r#"{"id":"a","kid":"0100","created":1}"#).unwrap();
        assert!(least.read().is_some());
    }

    #[test]
    fn mac_addresses_are_read_strictly() {
        assert_eq!(read_mac("02:00:00:00:AB:01"), Some([2, 0, 0, 0, 0xab, 1]));
        assert_eq!(read_mac("02-00-00-00-ab-01"), Some([2, 0, 0, 0, 0xab, 1]));
        for bad in
            ["", "02:00:00:00:ab", "02:00:00:00:ab:1", "020000:00:ab:01", "02:00:00:00:ab:0g", "0:200:00:00:ab:01"]
        {
            assert_eq!(read_mac(bad), None, "{bad}");
        }
    }
}
