//! The map that every message is: read as a table of raw values first, so that each rule about maps is applied once.

use alloc::{string::String, vec::Vec};
use core::{convert::Infallible, net::IpAddr, ops::RangeInclusive};

use minicbor::{Decoder, Encoder, encode};
use zeroize::Zeroizing;

use super::{MessageError, Problem};

/// More entries than any message of a later version will have.
const MAX_ENTRIES: u64 = 64;

/// The entries of a message's map, values still encoded.
pub(super) struct Fields<'a> {
    message: &'static str,
    entries: Vec<(i64, &'a [u8])>,
}

impl<'a> Fields<'a> {
    /// Takes a whole payload apart.
    pub(super) fn parse(message: &'static str, bytes: &'a [u8]) -> Result<Self, MessageError> {
        let whole = |problem| MessageError { message, field: "", problem };
        let mut decoder = Decoder::new(bytes);
        let length = decoder.map().ok().flatten().ok_or(whole(Problem::WrongType))?;
        if length > MAX_ENTRIES {
            return Err(whole(Problem::Length));
        }
        let mut entries: Vec<(i64, &'a [u8])> = Vec::new();
        for _ in 0..length {
            let key = decoder.i64().map_err(|_| whole(Problem::WrongType))?;
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(whole(Problem::Duplicate));
            }
            let start = decoder.position();
            decoder.skip().map_err(|_| whole(Problem::WrongType))?;
            entries.push((key, bytes.get(start..decoder.position()).unwrap_or_default()));
        }
        if decoder.position() != bytes.len() {
            return Err(whole(Problem::Trailing));
        }
        Ok(Self { message, entries })
    }

    pub(super) fn contains(&self, key: i64) -> bool {
        self.entries.iter().any(|(known, _)| *known == key)
    }

    /// The value of `key`, if it is there.
    pub(super) fn optional(&self, key: i64, field: &'static str) -> Option<Value<'a>> {
        let (_, bytes) = self.entries.iter().find(|(known, _)| *known == key)?;
        Some(Value { message: self.message, field, decoder: Decoder::new(bytes) })
    }

    /// The value of `key`, which has no default.
    pub(super) fn required(&self, key: i64, field: &'static str) -> Result<Value<'a>, MessageError> {
        self.optional(key, field).ok_or(MessageError { message: self.message, field, problem: Problem::Missing })
    }
}

/// One value, or a run of values inside an array; knows its place for the error.
pub(super) struct Value<'a> {
    message: &'static str,
    field: &'static str,
    decoder: Decoder<'a>,
}

impl<'a> Value<'a> {
    /// A payload that is a single value and no map.
    pub(super) fn whole(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { message, field: "", decoder: Decoder::new(bytes) }
    }

    pub(super) fn error(&self, problem: Problem) -> MessageError {
        MessageError { message: self.message, field: self.field, problem }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.decoder.datatype(), Ok(minicbor::data::Type::String))
    }

    /// True when nothing is left to read.
    pub(super) fn is_finished(&self) -> bool {
        self.decoder.position() == self.decoder.input().len()
    }

    /// An unsigned number of up to 64 bits that fits `T`.
    pub(super) fn uint<T: TryFrom<u64>>(&mut self) -> Result<T, MessageError> {
        let number = self.decoder.u64().map_err(|_| self.error(Problem::WrongType))?;
        T::try_from(number).map_err(|_| self.error(Problem::Value))
    }

    pub(super) fn boolean(&mut self) -> Result<bool, MessageError> {
        self.decoder.bool().map_err(|_| self.error(Problem::WrongType))
    }

    /// A TCP or UDP port; zero is none.
    pub(super) fn port(&mut self) -> Result<u16, MessageError> {
        match self.uint()? {
            0 => Err(self.error(Problem::Value)),
            port => Ok(port),
        }
    }

    /// A byte string whose length is within `bounds`.
    pub(super) fn bytes(&mut self, bounds: RangeInclusive<usize>) -> Result<&'a [u8], MessageError> {
        let bytes = self.decoder.bytes().map_err(|_| self.error(Problem::WrongType))?;
        if bounds.contains(&bytes.len()) { Ok(bytes) } else { Err(self.error(Problem::Length)) }
    }

    /// A text string whose length in bytes is within `bounds`.
    pub(super) fn text(&mut self, bounds: RangeInclusive<usize>) -> Result<String, MessageError> {
        let text = self.decoder.str().map_err(|_| self.error(Problem::WrongType))?;
        if bounds.contains(&text.len()) { Ok(text.into()) } else { Err(self.error(Problem::Length)) }
    }

    /// An IPv4 or IPv6 address as 4 or 16 bytes.
    ///
    /// An IPv4 address written as an IPv4-mapped IPv6 address is refused: one address, one spelling, or a rule about
    /// the one would be dodged with the other.
    pub(super) fn address(&mut self) -> Result<IpAddr, MessageError> {
        let bytes = self.bytes(4..=16)?;
        let address = if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            IpAddr::from(octets)
        } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
            IpAddr::from(octets)
        } else {
            return Err(self.error(Problem::Length));
        };
        if address.to_canonical() == address { Ok(address) } else { Err(self.error(Problem::Value)) }
    }

    /// Enters an array of exactly `length` values.
    pub(super) fn array_of(&mut self, length: u64) -> Result<(), MessageError> {
        if self.array(length..=length)? == length { Ok(()) } else { Err(self.error(Problem::Length)) }
    }

    /// Reads an array whose length is within `bounds`.
    pub(super) fn list<T>(
        &mut self,
        bounds: RangeInclusive<u64>,
        mut item: impl FnMut(&mut Self) -> Result<T, MessageError>,
    ) -> Result<Vec<T>, MessageError> {
        let length = self.array(bounds)?;
        (0..length).map(|_| item(self)).collect()
    }

    fn array(&mut self, bounds: RangeInclusive<u64>) -> Result<u64, MessageError> {
        let length = self.decoder.array().ok().flatten().ok_or(self.error(Problem::WrongType))?;
        if bounds.contains(&length) { Ok(length) } else { Err(self.error(Problem::Length)) }
    }
}

/// Writes a message's map; counts its entries itself.
pub(super) struct MapWriter {
    encoder: Encoder<Vec<u8>>,
    entries: u8,
}

/// The result of minicbor's calls when they write to memory.
pub(super) type Written<'e> = Result<&'e mut Encoder<Vec<u8>>, encode::Error<Infallible>>;

impl MapWriter {
    /// `capacity`: at least the bytes of the finished message, since a buffer that grows leaves copies of secrets behind.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(capacity);
        buffer.push(0); // the map's header, known at the end
        Self { encoder: Encoder::new(buffer), entries: 0 }
    }

    /// Writes one entry; keys in ascending order.
    pub(super) fn put(&mut self, key: u8, value: impl FnOnce(&mut Encoder<Vec<u8>>) -> Written<'_>) {
        // Writing to memory cannot fail, but minicbor's signature has to speak for every kind of writer.
        let written = self.encoder.u8(key).and_then(value);
        debug_assert!(written.is_ok());
        self.entries = self.entries.saturating_add(1);
    }

    pub(super) fn uint(&mut self, key: u8, number: impl Into<u64>) {
        self.put(key, |e| e.u64(number.into()));
    }

    pub(super) fn bytes(&mut self, key: u8, bytes: &[u8]) {
        self.put(key, |e| e.bytes(bytes));
    }

    pub(super) fn text(&mut self, key: u8, text: &str) {
        self.put(key, |e| e.str(text));
    }

    pub(super) fn address(&mut self, key: u8, address: IpAddr) {
        self.put(key, |e| put_address(e, address));
    }

    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        const MAP: u8 = 0xa0; // major type 5; a length up to 23 sits in the same byte
        debug_assert!(self.entries <= 23);
        let mut buffer = self.encoder.into_writer();
        if let Some(header) = buffer.first_mut() {
            *header = MAP | self.entries;
        }
        Zeroizing::new(buffer)
    }
}

/// Writes an address as 4 or 16 bytes.
pub(super) fn put_address(encoder: &mut Encoder<Vec<u8>>, address: IpAddr) -> Written<'_> {
    match address {
        IpAddr::V4(address) => encoder.bytes(&address.octets()),
        IpAddr::V6(address) => encoder.bytes(&address.octets()),
    }
}
