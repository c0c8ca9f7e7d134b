//! pcap (draft-ietf-opsawg-pcap): a header of 24 bytes, then frames behind 16 bytes each, or 24.

use std::time::Duration;

use super::source::Source;
use super::{ByteOrder, CaptureFault, Found, FoundWhat, MAX_FRAME};
use crate::packet::LinkType;

pub(super) struct Classic {
    order: ByteOrder,
    /// How many nanoseconds the fraction of a second counts in.
    fraction: u64,
    link: LinkType,
    /// Bytes before a frame.
    frame_header: usize,
}

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Of a patched libpcap that was once in wide use; its frames say more in eight bytes more.
const MODIFIED: u32 = 0xa1b2_cd34;
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
const MODIFIED_FRAME_HEADER: usize = 24;
/// The rest of the field says what follows a frame of Ethernet, which IP's own length cuts off.
const LINK_MASK: u32 = 0xffff;

impl Classic {
    /// Takes the file header, if it is one of this format.
    pub(super) fn detect(magic: [u8; 4], source: &mut Source) -> Result<Option<Self>, CaptureFault> {
        let known = [ByteOrder::Big, ByteOrder::Little].into_iter().find_map(|order| match order.number(magic) {
            MICROSECONDS => Some((order, 1000, FRAME_HEADER)),
            MODIFIED => Some((order, 1000, MODIFIED_FRAME_HEADER)),
            NANOSECONDS => Some((order, 1, FRAME_HEADER)),
            _ => None,
        });
        let Some((order, fraction, frame_header)) = known else { return Ok(None) };
        let header = source.peek(FILE_HEADER, "its header")?;
        let network = header.last_chunk().copied().unwrap_or_default();
        let link = LinkType(order.number(network) & LINK_MASK);
        source.consume(FILE_HEADER);
        Ok(Some(Self { order, fraction, link, frame_header }))
    }

    pub(super) fn find(&mut self, source: &mut Source) -> Result<Option<Found>, CaptureFault> {
        let Some(header) = source.header::<FRAME_HEADER>("a frame's header")? else { return Ok(None) };
        let (words, _) = header.as_chunks();
        let &[seconds, fraction, captured, original_length] = words else { return Ok(None) };
        let [seconds, fraction, captured, original_length] =
            [seconds, fraction, captured, original_length].map(|word| self.order.number(word));
        if captured > MAX_FRAME {
            return Err(CaptureFault::Damaged("a frame is longer than any can be"));
        }
        let length = captured as usize;
        source.peek(self.frame_header.saturating_add(length), "a frame")?;
        let fraction = u64::from(fraction).saturating_mul(self.fraction);
        let time = Duration::from_secs(u64::from(seconds)).saturating_add(Duration::from_nanos(fraction));
        let what = FoundWhat::Frame { time, link: self.link, original_length, interface: 0 };
        Ok(Some(Found { what, before: self.frame_header, length, after: 0 }))
    }
}
