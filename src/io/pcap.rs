//! Capture files: pcap and pcapng, as they are or packed with gzip, read from a file or a pipe of any length.
//!
//! The formats are read here and not by a crate, because frames are borrowed from one buffer, memory is bounded whatever
//! a length field says, the place of an error is known, and secrets and clock resolutions of pcapng count.

mod classic;
mod ng;
mod source;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::packet::{Frame, LinkType};

use classic::Classic;
use ng::Ng;
use source::Source;

/// A capture file that is read from front to back.
pub struct Reader {
    name: String,
    length: Option<u64>,
    source: Source,
    format: Format,
    over: bool,
}

/// What a capture file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Secrets that open what the frames carry.
    Secrets {
        /// Their format.
        kind: SecretsKind,
        /// As they are in the file.
        data: &'a [u8],
    },
}

/// The format of secrets in a pcapng file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretsKind(pub u32);

impl SecretsKind {
    /// Lines of an SSLKEYLOGFILE.
    pub const TLS_KEY_LOG: Self = Self(0x544c_534b);
    /// Keys of an SSH session.
    pub const SSH_KEY_LOG: Self = Self(0x5353_484b);
    /// Keys of WireGuard.
    pub const WIREGUARD_KEY_LOG: Self = Self(0x5747_4b4c);
}

/// A capture file that cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {fault}{place}")]
pub struct CaptureError {
    /// Its name.
    pub file: String,
    /// What is wrong.
    pub fault: CaptureFault,
    /// Where.
    pub place: Place,
}

/// What can be wrong with a capture file.
#[derive(Debug, thiserror::Error)]
pub enum CaptureFault {
    /// It cannot be opened or read, or does not unpack.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is of no format that is read here.
    #[error("is neither pcap nor pcapng, nor one of them packed with gzip")]
    NotACapture,
    /// It has not even a header.
    #[error("is empty")]
    Empty,
    /// It ends too early; all that is whole before that was given.
    #[error("ends in the middle of {0}")]
    Truncated(&'static str),
    /// It contradicts itself.
    #[error("is damaged: {0}")]
    Damaged(&'static str),
}

/// A place in a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// Bytes from its start to the frame or block in question.
    Byte(u64),
    /// The same in what it unpacks to.
    UnpackedByte(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Byte(at) => write!(f, ", at byte {at}"),
            Self::UnpackedByte(at) => write!(f, ", at byte {at} of the unpacked file"),
        }
    }
}

enum Format {
    Classic(Classic),
    Ng(Ng),
}

/// Where the next item is in what the source holds, and all of it that is no bytes.
struct Found {
    what: FoundWhat,
    /// Bytes before the item's data, of the data, and after it.
    before: usize,
    length: usize,
    after: usize,
}

enum FoundWhat {
    Frame { time: Duration, link: LinkType, original_length: u32, interface: u32 },
    Secrets(SecretsKind),
}

/// A frame is not longer: the limit of libpcap, four times over.
const MAX_FRAME: u32 = 1 << 20;

impl Reader {
    /// Opens a file, or standard input if the path is `-`, and reads its header.
    ///
    /// # Errors
    /// If it cannot be opened, or is no capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path == Path::new("-") {
            return Self::new("standard input", io::stdin());
        }
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(CaptureError { file: name, fault: error.into(), place: Place::File }),
        };
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { length, ..Self::new(name, file)? })
    }

    /// Reads a capture from anywhere; `name` is for errors.
    ///
    /// # Errors
    /// If it is no capture.
    pub fn new(name: impl Into<String>, input: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let name = name.into();
        let start = Source::new(input).map_err(CaptureFault::Io).and_then(|mut source| {
            let format = Format::detect(&mut source)?;
            Ok((source, format))
        });
        match start {
            Ok((source, format)) => Ok(Self { name, length: None, source, format, over: false }),
            Err(fault) => Err(CaptureError { file: name, fault, place: Place::File }),
        }
    }

    /// The next item; `None` at the end, and after an error.
    ///
    /// # Errors
    /// If the file is damaged or ends too early. Everything before that has been given.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, CaptureError> {
        if self.over {
            return Ok(None);
        }
        let found = match &mut self.format {
            Format::Classic(classic) => classic.find(&mut self.source),
            Format::Ng(ng) => ng.find(&mut self.source),
        };
        match found {
            Ok(Some(found)) => Ok(found.item(&mut self.source)),
            Ok(None) => {
                self.over = true;
                Ok(None)
            }
            Err(fault) => {
                self.over = true;
                Err(CaptureError { file: self.name.clone(), fault, place: self.source.place() })
            }
        }
    }

    /// Bytes of the file that have been read; of a packed one, packed bytes.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// Bytes of the file, if it is one.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Format {
    fn detect(source: &mut Source) -> Result<Self, CaptureFault> {
        let Some(magic) = source.header("its header")? else {
            return Err(CaptureFault::Empty);
        };
        if let Some(classic) = Classic::detect(magic, source)? {
            return Ok(Self::Classic(classic));
        }
        if Ng::detect(magic) { Ok(Self::Ng(Ng::default())) } else { Err(CaptureFault::NotACapture) }
    }
}

impl Found {
    fn item(self, source: &mut Source) -> Option<Item<'_>> {
        let end = self.before.checked_add(self.length)?;
        let data = source.consume(end.checked_add(self.after)?).get(self.before..end)?;
        Some(match self.what {
            FoundWhat::Frame { time, link, original_length, interface } => {
                Item::Frame(Frame { time, link, data, original_length, interface })
            }
            FoundWhat::Secrets(kind) => Item::Secrets { kind, data },
        })
    }
}

/// The order in which a file has the bytes of its numbers: that of the machine that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ByteOrder {
    Big,
    #[default]
    Little,
}

impl ByteOrder {
    fn u16(self, bytes: &mut &[u8]) -> Option<u16> {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(match self {
            Self::Big => u16::from_be_bytes(*number),
            Self::Little => u16::from_le_bytes(*number),
        })
    }

    fn u32(self, bytes: &mut &[u8]) -> Option<u32> {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(self.number(*number))
    }

    fn number(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }
}
