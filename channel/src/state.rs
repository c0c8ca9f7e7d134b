//! What must survive a restart, and its encoding. Written by [`Output::Persist`](crate::Output::Persist), read at the start.

use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ChannelKey;
use crate::oscore::PartialIv;

/// The durable part of a channel, 54 or 90 bytes encoded. Both ends keep one per peer.
pub struct State {
    /// The present epoch.
    pub epoch: u32,
    /// Its channel key.
    pub key: ChannelKey,
    /// The peer was heard under the present epoch, or it is the first.
    pub confirmed: bool,
    /// The epoch the peer may still be in, kept until `confirmed`.
    pub previous: Option<Previous>,
    /// Sender sequence numbers below may have been used.
    pub reserved: u64,
    /// Hand-overs we sent under the present epoch.
    pub handovers: u8,
}

/// The epoch before the present one.
pub struct Previous {
    /// Its number.
    pub epoch: u32,
    /// Its channel key.
    pub key: ChannelKey,
}

/// The bytes are no state this version can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// Written by another version of this crate; the byte is its number.
    Version(u8),
    /// Cut off, altered, or never a state.
    Damaged,
}

impl State {
    /// For a channel that has not been used yet: the key that was provisioned on both sides.
    pub fn new(key: ChannelKey) -> Self {
        Self { epoch: 0, key, confirmed: true, previous: None, reserved: 0, handovers: 0 }
    }

    /// The bytes to store. They hold the key: seal them, or guard them as well as the key file.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(LONGEST));
        out.extend_from_slice(&[b'k', b'f', VERSION]);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.reserved.to_be_bytes());
        out.push(self.handovers);
        out.push(u8::from(self.confirmed) | u8::from(self.previous.is_some()) << 1);
        if let Some(previous) = &self.previous {
            out.extend_from_slice(&previous.epoch.to_be_bytes());
            out.extend_from_slice(previous.key.as_bytes());
        }
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads what [`encode`](Self::encode) wrote. A checksum catches torn writes, not forgers.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes {
            [b'k', b'f', VERSION, ..] => read(bytes).ok_or(StateError::Damaged),
            [b'k', b'f', version, ..] => Err(StateError::Version(*version)),
            _ => Err(StateError::Damaged),
        }
    }
}

fn read(bytes: &[u8]) -> Option<State> {
    let (fields, sum) = bytes.split_last_chunk::<4>()?;
    if *sum != checksum(fields) {
        return None;
    }
    let (_, rest) = fields.split_first_chunk::<3>()?;
    let (epoch, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_first_chunk::<32>()?;
    let (reserved, rest) = rest.split_first_chunk::<8>()?;
    let (&[handovers, flags], rest) = rest.split_first_chunk::<2>()?;
    let (epoch, reserved) = (u32::from_be_bytes(*epoch), u64::from_be_bytes(*reserved));
    let (previous, rest) = match flags {
        CONFIRMED => (None, rest),
        HAS_PREVIOUS => {
            let (number, rest) = rest.split_first_chunk::<4>()?;
            let (key, rest) = rest.split_first_chunk::<32>()?;
            let previous = Previous { epoch: u32::from_be_bytes(*number), key: ChannelKey::from_bytes(*key) };
            (Some(previous), rest)
        }
        _ => return None,
    };
    let in_order = previous.as_ref().is_none_or(|previous| previous.epoch.checked_add(1) == Some(epoch));
    if !rest.is_empty() || !in_order || reserved > PartialIv::MAX + 1 {
        return None;
    }
    let key = ChannelKey::from_bytes(*key);
    Some(State { epoch, key, confirmed: flags == CONFIRMED, previous, reserved, handovers })
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(bytes).into();
    [a, b, c, d]
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(
                    f,
                    "channel state of version {version}, this program reads {VERSION}: use the program that wrote it"
                )
            }
            Self::Damaged => {
                f.write_str("channel state is damaged: restore nothing older, provision a new key instead")
            }
        }
    }
}

impl core::error::Error for StateError {}

const VERSION: u8 = 1;
const CONFIRMED: u8 = 1;
const HAS_PREVIOUS: u8 = 2;
const LONGEST: usize = 3 + 4 + 32 + 8 + 2 + 4 + 32 + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Epoch, key, key of the epoch before, reserved numbers, hand-overs. Not a `State`: those have no `Debug`.
    type Parts = (u32, [u8; 32], Option<[u8; 32]>, u64, u8);

    fn parts() -> impl Strategy<Value = Parts> {
        (1..=u32::MAX, any::<[u8; 32]>(), proptest::option::of(any::<[u8; 32]>()), 0..=1u64 << 40, any::<u8>())
    }

    fn state((epoch, key, older, reserved, handovers): Parts) -> State {
        let previous = older.map(|key| Previous { epoch: epoch - 1, key: ChannelKey::from_bytes(key) });
        State { epoch, key: ChannelKey::from_bytes(key), confirmed: previous.is_none(), previous, reserved, handovers }
    }

    proptest! {
        #[test]
        fn round_trip(parts in parts()) {
            let state = state(parts);
            let bytes = state.encode();
            let read = State::decode(&bytes).unwrap();
            prop_assert_eq!(read.encode(), bytes);
            prop_assert_eq!(read.epoch, state.epoch);
            prop_assert_eq!(read.key.as_bytes(), state.key.as_bytes());
            prop_assert_eq!(read.reserved, state.reserved);
        }

        #[test]
        fn every_truncation_and_every_altered_bit_is_refused(parts in parts()) {
            let bytes = state(parts).encode();
            for length in 0..bytes.len() {
                prop_assert!(State::decode(&bytes[..length]).is_err());
            }
            for bit in 0..bytes.len() * 8 {
                let mut altered = bytes.to_vec();
                altered[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(State::decode(&altered).is_err());
            }
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = State::new(ChannelKey::from_bytes([7; 32])).encode();
        bytes[2] = 2;
        assert_eq!(State::decode(&bytes).err(), Some(StateError::Version(2)));
    }
}
