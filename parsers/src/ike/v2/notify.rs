//! Notify and Delete payloads (RFC 7296 sections 3.10 and 3.11).

use alloc::vec::Vec;

use super::{HashAlgorithm, NotifyType, ProtocolId};
use crate::ike::Group;
use crate::ike::spi::{parse_spis, put_spis};
use crate::ike::wire::{Reader, put_u8};
use crate::{EmitError, ParseError};

/// News about an SA, or what the sender can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    /// The protocol of the SA; 0 without one.
    pub protocol_id: ProtocolId,
    /// What it says.
    pub notify_type: NotifyType,
    /// The SA; empty for the IKE SA and without one.
    pub spi: &'a [u8],
    /// More of it.
    pub data: &'a [u8],
}

impl<'a> Notify<'a> {
    /// A notification about no SA but the one it is sent in.
    pub const fn new(notify_type: NotifyType, data: &'a [u8]) -> Self {
        Self { protocol_id: ProtocolId(0), notify_type, spi: &[], data }
    }

    /// INVALID_KE_PAYLOAD: the group that the sender wants.
    pub fn wanted_group(&self) -> Option<Group> {
        let group = <[u8; 2]>::try_from(self.data).ok()?;
        (self.notify_type == NotifyType::INVALID_KE_PAYLOAD).then(|| Group(u16::from_be_bytes(group)))
    }

    /// SIGNATURE_HASH_ALGORITHMS: those that the sender can verify; else none.
    pub fn hash_algorithms(&self) -> impl Iterator<Item = HashAlgorithm> + use<'a> {
        let of_type = self.notify_type == NotifyType::SIGNATURE_HASH_ALGORITHMS;
        let (algorithms, _) = self.data.as_chunks();
        algorithms.iter().filter(move |_| of_type).map(|number| HashAlgorithm(u16::from_be_bytes(*number)))
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let protocol_id = ProtocolId(reader.u8("Notify.protocol_id")?);
        let spi_size = reader.u8("Notify.spi_size")?;
        let notify_type = NotifyType(reader.u16("Notify.notify_type")?);
        let spi = reader.take("Notify.spi", spi_size.into())?;
        Ok(Self { protocol_id, notify_type, spi, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(self.protocol_id.0);
        put_u8(out, "Notify.spi", self.spi.len())?;
        out.extend_from_slice(&self.notify_type.0.to_be_bytes());
        out.extend_from_slice(self.spi);
        out.extend_from_slice(self.data);
        Ok(())
    }
}

/// SAs that the sender deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The protocol of the SAs.
    pub protocol_id: ProtocolId,
    /// Bytes of each SPI: 0 for the IKE SA.
    pub spi_size: u8,
    /// The sender's inbound SPIs; none for the IKE SA.
    pub spis: Vec<&'a [u8]>,
}

impl<'a> Delete<'a> {
    /// The IKE SA that it is sent in.
    pub const fn ike_sa() -> Self {
        Self { protocol_id: ProtocolId::IKE, spi_size: 0, spis: Vec::new() }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let protocol_id = ProtocolId(reader.u8("Delete.protocol_id")?);
        let (spi_size, spis) = parse_spis(reader)?;
        Ok(Self { protocol_id, spi_size, spis })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(self.protocol_id.0);
        put_spis(out, self.spi_size, &self.spis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;
    use alloc::vec;

    #[test]
    fn notifications_survive() {
        let rekey = NotifyType::REKEY_SA;
        let spi = &[1, 2, 3, 4];
        survives(Body::Notify(Notify { protocol_id: ProtocolId::ESP, notify_type: rekey, spi, data: &[] }));
        survives(Body::Notify(Notify::new(NotifyType::COOKIE, b"cookie")));
        assert!(NotifyType::TEMPORARY_FAILURE.is_error());
        assert!(!NotifyType::COOKIE.is_error());
    }

    #[test]
    fn data_is_read_by_type() {
        let invalid = Notify::new(NotifyType::INVALID_KE_PAYLOAD, &[0, 19]);
        assert_eq!(invalid.wanted_group(), Some(Group::ECP_256));
        assert_eq!(Notify::new(NotifyType::INVALID_KE_PAYLOAD, &[19]).wanted_group(), None);
        assert_eq!(Notify::new(NotifyType::COOKIE, &[0, 19]).wanted_group(), None);
        let hashes = Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, &[0, 2, 0, 5]);
        assert!(hashes.hash_algorithms().eq([HashAlgorithm::SHA2_256, HashAlgorithm::IDENTITY]));
        assert_eq!(invalid.hash_algorithms().count(), 0);
    }

    #[test]
    fn deletes_survive() {
        survives(Body::Delete(Delete::ike_sa()));
        let spis = vec![&[1, 2, 3, 4][..], &[5, 6, 7, 8]];
        survives(Body::Delete(Delete { protocol_id: ProtocolId::ESP, spi_size: 4, spis }));
    }
}
