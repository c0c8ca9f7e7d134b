//! Notification and Delete payloads (RFC 2408 sections 3.14 and 3.15).

use alloc::vec::Vec;

use super::{Doi, NotifyType, ProtocolId};
use crate::ike::spi::{parse_spis, put_spis};
use crate::ike::wire::{Reader, put_u8};
use crate::{EmitError, ParseError};

/// News about an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The DOI of the numbers below.
    pub doi: Doi,
    /// The protocol of the SA.
    pub protocol_id: ProtocolId,
    /// What it says.
    pub notify_type: NotifyType,
    /// The SA: of phase 1 often both cookies.
    pub spi: &'a [u8],
    /// More of it: for R-U-THERE a sequence number of four bytes.
    pub data: &'a [u8],
}

impl<'a> Notification<'a> {
    /// A notification of the IPsec DOI.
    pub const fn new(protocol_id: ProtocolId, notify_type: NotifyType, spi: &'a [u8], data: &'a [u8]) -> Self {
        Self { doi: Doi::IPSEC, protocol_id, notify_type, spi, data }
    }

    /// R-U-THERE and R-U-THERE-ACK: their sequence number (RFC 3706 section 5.3).
    pub fn sequence_number(&self) -> Option<u32> {
        let number = <[u8; 4]>::try_from(self.data).ok()?;
        matches!(self.notify_type, NotifyType::R_U_THERE | NotifyType::R_U_THERE_ACK)
            .then(|| u32::from_be_bytes(number))
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let doi = Doi(reader.u32("Notification.doi")?);
        let protocol_id = ProtocolId(reader.u8("Notification.protocol_id")?);
        let spi_size = reader.u8("Notification.spi_size")?;
        let notify_type = NotifyType(reader.u16("Notification.notify_type")?);
        let spi = reader.take("Notification.spi", spi_size.into())?;
        Ok(Self { doi, protocol_id, notify_type, spi, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.doi.0.to_be_bytes());
        out.push(self.protocol_id.0);
        put_u8(out, "Notification.spi", self.spi.len())?;
        out.extend_from_slice(&self.notify_type.0.to_be_bytes());
        out.extend_from_slice(self.spi);
        out.extend_from_slice(self.data);
        Ok(())
    }
}

/// SAs that the sender has deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The DOI of the numbers below.
    pub doi: Doi,
    /// The protocol of the SAs.
    pub protocol_id: ProtocolId,
    /// Bytes of each SPI.
    pub spi_size: u8,
    /// The SAs: of phase 1 both cookies, else the sender's inbound SPIs.
    pub spis: Vec<&'a [u8]>,
}

impl<'a> Delete<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let doi = Doi(reader.u32("Delete.doi")?);
        let protocol_id = ProtocolId(reader.u8("Delete.protocol_id")?);
        let (spi_size, spis) = parse_spis(reader)?;
        Ok(Self { doi, protocol_id, spi_size, spis })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.doi.0.to_be_bytes());
        out.push(self.protocol_id.0);
        put_spis(out, self.spi_size, &self.spis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v1::Body;
    use crate::ike::v1::checks::survives;
    use alloc::vec;

    #[test]
    fn notifications_survive() {
        let are_you_there = Notification::new(ProtocolId::ISAKMP, NotifyType::R_U_THERE, &[7; 16], &[0, 0, 1, 2]);
        assert_eq!(are_you_there.sequence_number(), Some(0x0102));
        survives(Body::Notification(are_you_there));
        survives(Body::Notification(Notification::new(ProtocolId(0), NotifyType::NO_PROPOSAL_CHOSEN, &[], &[])));
        assert!(NotifyType::NO_PROPOSAL_CHOSEN.is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
    }

    #[test]
    fn deletes_survive() {
        let delete = Delete {
            doi: Doi::IPSEC,
            protocol_id: ProtocolId::IPSEC_ESP,
            spi_size: 4,
            spis: vec![&[1, 2, 3, 4], &[5, 6, 7, 8]],
        };
        survives(Body::Delete(delete));
    }
}
