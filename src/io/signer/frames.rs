//! What gateway and signer process say to each other: frames of CBOR behind a length of four bytes. Each
//! request gets one answer. A private key goes in with [`Request::Import`] and never comes out.

use std::io::{self, Read, Write};

use minicbor::bytes::{ByteArray, ByteSlice, ByteVec};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::signer::Purpose;

/// No frame is longer, in bytes, its length not counted.
pub const LONGEST: usize = 128 << 10;

/// What is asked of the signer.
#[derive(Encode, Decode)]
pub enum Request<'a> {
    /// [`Signer::open`](crate::signer::Signer::open).
    #[n(0)]
    Open {
        /// The terminal.
        #[b(0)]
        owner: &'a str,
        /// Handshakes that ended without a signature since.
        #[n(1)]
        closed: Vec<u64>,
    },
    /// [`Signer::sign`](crate::signer::Signer::sign).
    #[n(1)]
    Sign {
        /// The number that `Open` gave.
        #[n(0)]
        handshake: u64,
        /// The terminal.
        #[b(1)]
        owner: &'a str,
        /// The credential's id.
        #[n(2)]
        credential: ByteArray<32>,
        /// [`number`] of the purpose.
        #[n(3)]
        purpose: u8,
        /// The signature scheme.
        #[n(4)]
        scheme: u16,
        /// All handshake messages.
        #[b(5)]
        transcript: &'a ByteSlice,
        /// Key exchange parameters.
        #[b(6)]
        params: &'a ByteSlice,
    },
    /// Erases the private key of one certificate, or of all of a terminal.
    #[n(2)]
    Forget {
        /// The terminal.
        #[b(0)]
        owner: &'a str,
        /// The certificate's name; none: all.
        #[b(1)]
        name: Option<&'a str>,
    },
    /// Takes over a certificate and its private key.
    #[n(3)]
    Import {
        /// The terminal.
        #[b(0)]
        owner: &'a str,
        /// The certificate's name.
        #[b(1)]
        name: &'a str,
        /// DER, leaf first.
        #[b(2)]
        chain: Vec<&'a ByteSlice>,
        /// PKCS#8, PKCS#1 or SEC 1, DER.
        #[b(3)]
        private_key: &'a ByteSlice,
    },
}

/// What the signer answers.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// To `Open`.
    #[n(0)]
    Opened {
        /// The handshake's number.
        #[n(0)]
        handshake: u64,
        /// What our hello must carry.
        #[n(1)]
        random: ByteArray<32>,
    },
    /// To `Sign`.
    #[n(1)]
    Signature(#[n(0)] ByteVec),
    /// To `Forget` and `Import`.
    #[n(2)]
    Done,
    /// It was not done.
    #[n(3)]
    Failed {
        /// The reason code.
        #[n(0)]
        reason: u16,
        /// In words.
        #[n(1)]
        detail: String,
    },
}

/// The number of a purpose in a frame.
pub fn number(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Tls13Server => 0,
        Purpose::Tls13Client => 1,
        Purpose::Tls12Server => 2,
        Purpose::Tls12Client => 3,
    }
}

/// The purpose of a number.
pub fn purpose(number: u8) -> Option<Purpose> {
    match number {
        0 => Some(Purpose::Tls13Server),
        1 => Some(Purpose::Tls13Client),
        2 => Some(Purpose::Tls12Server),
        3 => Some(Purpose::Tls12Client),
        _ => None,
    }
}

/// Writes a frame.
///
/// # Errors
/// `InvalidInput` where it would be longer than [`LONGEST`].
pub fn write(stream: &mut impl Write, message: &impl Encode<()>) -> io::Result<()> {
    // Of its final size at once, and wiped: it may hold a private key.
    let mut body = Zeroizing::new(Vec::with_capacity(LONGEST));
    minicbor::encode(message, &mut *body).map_err(io::Error::other)?;
    if body.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a message of more than {LONGEST} bytes")));
    }
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&body)?;
    stream.flush()
}

/// Reads a frame; `None` where the other side closed between frames.
///
/// # Errors
/// `InvalidData` for a frame longer than [`LONGEST`]; nothing of it is read.
pub fn read(stream: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut length = [0; 4];
    match stream.read(&mut length)? {
        0 => return Ok(None),
        read => stream.read_exact(length.get_mut(read..).unwrap_or_default())?,
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut body = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Reads the one message of a frame.
///
/// # Errors
/// `InvalidData` where it is none, or something follows it.
pub fn decode<'a, T: Decode<'a, ()>>(body: &'a [u8]) -> io::Result<T> {
    let mut decoder = minicbor::Decoder::new(body);
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let message = decoder.decode().map_err(|error| invalid(format!("not a message of this version: {error}")))?;
    if decoder.position() != body.len() {
        return Err(invalid("bytes follow the message".into()));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut stream = Vec::new();
        write(&mut stream, &Request::Forget { owner: "meter-1", name: None }).unwrap();
        write(&mut stream, &Response::Done).unwrap();
        let mut reader = stream.as_slice();
        let body = read(&mut reader).unwrap().unwrap();
        assert!(matches!(decode(&body).unwrap(), Request::Forget { owner: "meter-1", name: None }));
        let body = read(&mut reader).unwrap().unwrap();
        assert_eq!(decode::<Response>(&body).unwrap(), Response::Done);
        assert!(read(&mut reader).unwrap().is_none());
    }

    #[test]
    fn frames_too_long_cut_short_or_with_more_behind_are_refused() {
        let long = Response::Signature(vec![0; LONGEST].into());
        assert_eq!(write(&mut Vec::new(), &long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let claims = u32::try_from(LONGEST + 1).unwrap().to_be_bytes();
        assert_eq!(read(&mut claims.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut stream = Vec::new();
        write(&mut stream, &Response::Done).unwrap();
        for cut in 1..stream.len() {
            assert!(read(&mut &stream[..cut]).is_err(), "{cut}");
        }
        let body = [&stream[4..], &[0]].concat();
        assert!(decode::<Response>(&body).is_err());
        assert!(decode::<Response>(&[0xff]).is_err());
    }
}
