//! pcapng (draft-ietf-opsawg-pcapng): blocks of type and length; sections, interfaces, frames and secrets among them.

use std::time::Duration;

use super::source::Source;
use super::{ByteOrder, CaptureFault, Found, FoundWhat, MAX_FRAME, SecretsKind};
use crate::packet::LinkType;

/// What holds until the next section starts.
#[derive(Default)]
pub(super) struct Ng {
    order: ByteOrder,
    interfaces: Vec<Interface>,
    /// Simple frames have no time: they are given that of the frame before.
    time: Duration,
}

struct Interface {
    link: LinkType,
    snap_length: u32,
    /// Ticks of its clock in a second, and where its clock starts, in seconds since 1970.
    ticks: u64,
    start: i64,
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_FRAME: u32 = 2;
const SIMPLE_FRAME: u32 = 3;
const FRAME: u32 = 6;
const SECRETS: u32 = 10;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;

/// Type and length before, length again after.
const BLOCK_START: usize = 8;
const BLOCK_END: usize = 4;
const LEAST_BLOCK: usize = BLOCK_START + BLOCK_END;
/// A block that is read is not longer. Others may be: they are stepped over.
const MAX_BLOCK: usize = 16 << 20;
const MAX_INTERFACES: usize = 65_536;

const NANOSECONDS: u64 = 1_000_000_000;

const LENGTH: CaptureFault = CaptureFault::Damaged("a block has an impossible length");
const TOO_SHORT: CaptureFault = CaptureFault::Damaged("a block is too short for what it should hold");

impl Ng {
    pub(super) fn detect(magic: [u8; 4]) -> bool {
        u32::from_be_bytes(magic) == SECTION
    }

    pub(super) fn find(&mut self, source: &mut Source) -> Result<Option<Found>, CaptureFault> {
        loop {
            let Some([kind @ .., _, _, _, _]) = source.header::<BLOCK_START>("a block's header")? else {
                return Ok(None);
            };
            if u32::from_be_bytes(kind) == SECTION {
                self.section(source)?;
            }
            let (kind, length) = self.start(source)?;
            if !matches!(kind, SECTION | INTERFACE | OBSOLETE_FRAME | SIMPLE_FRAME | FRAME | SECRETS) {
                source.skip(length as u64, "a block")?;
                continue;
            }
            if length > MAX_BLOCK {
                return Err(LENGTH);
            }
            let block = source.peek(length, "a block")?;
            if let Some(found) = self.block(kind, block)? {
                return Ok(Some(found));
            }
            source.consume(length);
        }
    }

    /// A section brings its own byte order, and no interfaces yet.
    fn section(&mut self, source: &mut Source) -> Result<(), CaptureFault> {
        let header = source.peek(BLOCK_START + 4, "a section's header")?;
        let magic = header.last_chunk().copied().unwrap_or_default();
        let known = [ByteOrder::Big, ByteOrder::Little].into_iter().find(|order| order.number(magic) == BYTE_ORDER);
        self.order = known.ok_or(CaptureFault::Damaged("a section's byte order is unknown"))?;
        self.interfaces.clear();
        Ok(())
    }

    fn start(&self, source: &mut Source) -> Result<(u32, usize), CaptureFault> {
        let mut start = source.peek(BLOCK_START, "a block's header")?;
        let kind = self.order.u32(&mut start).ok_or(LENGTH)?;
        let length = self.order.u32(&mut start).ok_or(LENGTH)?;
        let length = usize::try_from(length).map_err(|_| LENGTH)?;
        if length < LEAST_BLOCK || !length.is_multiple_of(4) { Err(LENGTH) } else { Ok((kind, length)) }
    }

    fn block(&mut self, kind: u32, block: &[u8]) -> Result<Option<Found>, CaptureFault> {
        let (body, again) = block.split_last_chunk::<BLOCK_END>().ok_or(LENGTH)?;
        if usize::try_from(self.order.number(*again)) != Ok(block.len()) {
            return Err(CaptureFault::Damaged("a block's two lengths differ"));
        }
        let body = body.get(BLOCK_START..).ok_or(LENGTH)?;
        let found = match kind {
            INTERFACE => return self.interface(body).map(|()| None),
            OBSOLETE_FRAME => self.obsolete_frame(body)?,
            SIMPLE_FRAME => self.simple_frame(body)?,
            FRAME => self.frame(body)?,
            SECRETS => self.secrets(body)?,
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    fn interface(&mut self, mut body: &[u8]) -> Result<(), CaptureFault> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(CaptureFault::Damaged("more interfaces than any machine has"));
        }
        let link = LinkType(u32::from(self.order.u16(&mut body).ok_or(TOO_SHORT)?));
        let _reserved = self.order.u16(&mut body).ok_or(TOO_SHORT)?;
        let snap_length = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let mut interface = Interface { link, snap_length, ticks: 1_000_000, start: 0 };
        while let Some((code, value)) = self.option(&mut body)? {
            match (code, value) {
                (IF_TSRESOL, [resolution, ..]) => interface.ticks = ticks(*resolution),
                (IF_TSOFFSET, value) => interface.start = self.seconds(value),
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// The next option of a block; its value fills up four bytes.
    fn option<'a>(&self, body: &mut &'a [u8]) -> Result<Option<(u16, &'a [u8])>, CaptureFault> {
        const CUT: CaptureFault = CaptureFault::Damaged("a block ends in the middle of an option");
        if body.is_empty() {
            return Ok(None);
        }
        let code = self.order.u16(body).ok_or(CUT)?;
        let length = usize::from(self.order.u16(body).ok_or(CUT)?);
        let (value, rest) = body.split_at_checked(length).ok_or(CUT)?;
        *body = rest.get(length.next_multiple_of(4).saturating_sub(length)..).unwrap_or_default();
        Ok((code != 0).then_some((code, value)))
    }

    fn seconds(&self, value: &[u8]) -> i64 {
        let Some(value) = value.first_chunk() else { return 0 };
        match self.order {
            ByteOrder::Big => i64::from_be_bytes(*value),
            ByteOrder::Little => i64::from_le_bytes(*value),
        }
    }

    fn frame(&mut self, mut body: &[u8]) -> Result<Found, CaptureFault> {
        let interface = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        self.timed_frame(interface, 4, body)
    }

    /// As a frame, but with an interface of two bytes and a count of frames that were dropped.
    fn obsolete_frame(&mut self, mut body: &[u8]) -> Result<Found, CaptureFault> {
        let interface = self.order.u16(&mut body).ok_or(TOO_SHORT)?;
        let _dropped = self.order.u16(&mut body).ok_or(TOO_SHORT)?;
        self.timed_frame(u32::from(interface), 4, body)
    }

    fn timed_frame(&mut self, interface: u32, before: usize, mut body: &[u8]) -> Result<Found, CaptureFault> {
        let high = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let low = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let captured = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let original_length = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let described = self.described(interface)?;
        let (link, time) = (described.link, described.time(u64::from(high) << 32 | u64::from(low)));
        self.time = time;
        let what = FoundWhat::Frame { time, link, original_length, interface };
        found(what, BLOCK_START + before + 16, captured, body)
    }

    /// No time, no interface but the first, and no length but the original one.
    fn simple_frame(&mut self, mut body: &[u8]) -> Result<Found, CaptureFault> {
        let original_length = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let interface = self.described(0)?;
        let snap_length = if interface.snap_length == 0 { u32::MAX } else { interface.snap_length };
        let what = FoundWhat::Frame { time: self.time, link: interface.link, original_length, interface: 0 };
        found(what, BLOCK_START + 4, original_length.min(snap_length), body)
    }

    fn secrets(&self, mut body: &[u8]) -> Result<Found, CaptureFault> {
        let kind = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let length = self.order.u32(&mut body).ok_or(TOO_SHORT)?;
        let length = usize::try_from(length).map_err(|_| TOO_SHORT)?;
        let after = body.len().checked_sub(length).ok_or(TOO_SHORT)?.saturating_add(BLOCK_END);
        Ok(Found { what: FoundWhat::Secrets(SecretsKind(kind)), before: BLOCK_START + 8, length, after })
    }

    fn described(&self, interface: u32) -> Result<&Interface, CaptureFault> {
        let described = usize::try_from(interface).ok().and_then(|at| self.interfaces.get(at));
        described.ok_or(CaptureFault::Damaged("a frame is of an interface that was not described"))
    }
}

/// A frame of `captured` bytes at the start of `rest`, with `before` bytes of the block before it.
fn found(what: FoundWhat, before: usize, captured: u32, rest: &[u8]) -> Result<Found, CaptureFault> {
    if captured > MAX_FRAME {
        return Err(CaptureFault::Damaged("a frame is longer than any can be"));
    }
    let length = captured as usize;
    let after = rest.len().checked_sub(length).ok_or(TOO_SHORT)?.saturating_add(BLOCK_END);
    Ok(Found { what, before, length, after })
}

/// Ticks in a second: a negative power of ten, or of two if the highest bit is set.
fn ticks(resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(u64::MAX)
}

impl Interface {
    /// The time that so many ticks show, since 1970.
    fn time(&self, ticks: u64) -> Duration {
        let per_second = self.ticks.max(1);
        let (seconds, fraction) = (ticks / per_second, ticks % per_second);
        let nanoseconds = if per_second <= NANOSECONDS {
            fraction.saturating_mul(NANOSECONDS) / per_second
        } else {
            let nanoseconds = u128::from(fraction) * u128::from(NANOSECONDS) / u128::from(per_second);
            u64::try_from(nanoseconds).unwrap_or_default()
        };
        Duration::from_secs(seconds.saturating_add_signed(self.start)).saturating_add(Duration::from_nanos(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_any_resolution_show_nanoseconds() {
        let time = |resolution: u8, start, shown| {
            let interface = Interface { link: LinkType::RAW, snap_length: 0, ticks: ticks(resolution), start };
            interface.time(shown).as_nanos()
        };
        assert_eq!(time(6, 0, 1_500_000), 1_500_000_000);
        assert_eq!(time(9, 0, 1_500_000_001), 1_500_000_001);
        assert_eq!(time(12, 0, 1_500_000_001_999), 1_500_000_001);
        assert_eq!(time(0, 10, 5), 15_000_000_000);
        assert_eq!(time(0x80 | 10, -1, 2048 + 512), 1_500_000_000);
        assert_eq!(time(0x80 | 127, 0, u64::MAX) / 1_000_000_000, 1);
        assert_eq!(time(6, i64::MIN, 7), 7_000);
        assert!(time(0, i64::MAX, u64::MAX) > 0);
    }
}
