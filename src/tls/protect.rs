//! Opens protected records of TLS 1.0 to 1.3, for whoever checks a recorded handshake.
//!
//! Not for a live session: of CBC suites, how long it takes tells how a record is wrong.

use keyferry_parsers::tls::{ContentType, ProtocolVersion, Record};

use super::keymat::suite::{RecordProtection, Tls12Suite};
use super::keymat::tls13::TrafficKeys;
use super::keymat::{KeyBlock, Side};
use crate::crypto::{Aead, Cipher, Hash, Prf, Secret};

/// Opens what one side sends, record after record.
pub struct RecordOpener {
    version: ProtocolVersion,
    protection: RecordProtection,
    encrypt_then_mac: bool,
    mac_key: Secret,
    key: Secret,
    iv: Secret,
    sequence: u64,
}

/// The content of a record.
pub struct Opened {
    /// What it is.
    pub content_type: ContentType,
    /// Without padding.
    pub content: Vec<u8>,
}

/// Why a record cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its length does not suit the suite.
    #[error("the record is too short or not whole blocks")]
    Malformed,
    /// Its MAC, padding or tag is wrong: other keys, another sequence number, or altered on the way.
    #[error("the MAC of the record is wrong")]
    Integrity,
}

impl RecordOpener {
    /// From a ChangeCipherSpec on, in TLS 1.0 to 1.2. `encrypt_then_mac` if that extension was agreed on (RFC 7366).
    pub fn tls12(
        version: ProtocolVersion,
        suite: Tls12Suite,
        key_block: &KeyBlock,
        sender: Side,
        encrypt_then_mac: bool,
    ) -> Self {
        let (mac_key, key, iv) = match sender {
            Side::Client => (&key_block.client_write_mac_key, &key_block.client_write_key, &key_block.client_write_iv),
            Side::Server => (&key_block.server_write_mac_key, &key_block.server_write_key, &key_block.server_write_iv),
        };
        Self {
            version,
            protection: suite.protection,
            encrypt_then_mac,
            mac_key: mac_key.duplicate(),
            key: key.duplicate(),
            iv: iv.duplicate(),
            sequence: 0,
        }
    }

    /// From the first record under a traffic secret of TLS 1.3.
    pub fn tls13(aead: Aead, keys: TrafficKeys) -> Self {
        Self {
            version: ProtocolVersion::TLS_1_3,
            protection: RecordProtection::Aead(aead),
            encrypt_then_mac: false,
            mac_key: Secret::zeroed(0),
            key: keys.write_key,
            iv: keys.write_iv,
            sequence: 0,
        }
    }

    /// Opens the next record. A ChangeCipherSpec of TLS 1.3 is none and must not come here.
    ///
    /// # Errors
    /// See [`OpenError`]; the sequence number stays, so that the right record may still come.
    pub fn open(&mut self, record: &Record<'_>) -> Result<Opened, OpenError> {
        let opened = match self.protection {
            RecordProtection::Aead(aead) if self.version == ProtocolVersion::TLS_1_3 => {
                self.open_tls13(aead, record)?
            }
            RecordProtection::Aead(aead) => self.open_aead(aead, record)?,
            RecordProtection::Cbc(cipher, mac) => self.open_cbc(cipher, mac, record)?,
        };
        self.sequence = self.sequence.wrapping_add(1);
        Ok(opened)
    }

    /// RFC 8446 section 5.2.
    fn open_tls13(&self, aead: Aead, record: &Record<'_>) -> Result<Opened, OpenError> {
        let header = [&[record.content_type.0][..], &version(record), &length(record.fragment)?].concat();
        let inner = aead.open(self.key.as_bytes(), &self.xored_nonce(), &header, record.fragment);
        let mut content = inner.ok_or(OpenError::Integrity)?;
        while content.pop_if(|last| *last == 0).is_some() {}
        let content_type = ContentType(content.pop().ok_or(OpenError::Malformed)?);
        Ok(Opened { content_type, content })
    }

    /// RFC 5246 section 6.2.3.3: AES with eight bytes of nonce in the record (RFC 5288), ChaCha20 without (RFC 7905).
    fn open_aead(&self, aead: Aead, record: &Record<'_>) -> Result<Opened, OpenError> {
        let (nonce, sealed) = match aead {
            Aead::ChaCha20Poly1305 => (self.xored_nonce(), record.fragment),
            Aead::AesGcm(..) | Aead::AesCcm(..) => {
                let (explicit, sealed) = record.fragment.split_at_checked(8).ok_or(OpenError::Malformed)?;
                ([self.iv.as_bytes(), explicit].concat(), sealed)
            }
        };
        let plaintext = sealed.len().checked_sub(aead.tag_length()).ok_or(OpenError::Malformed)?;
        let aad = self.pseudo_header(record, plaintext)?;
        let content = aead.open(self.key.as_bytes(), &nonce, &aad, sealed).ok_or(OpenError::Integrity)?;
        Ok(Opened { content_type: record.content_type, content })
    }

    /// RFC 5246 section 6.2.3.2, or RFC 7366 section 3.
    fn open_cbc(&mut self, cipher: Cipher, mac: Hash, record: &Record<'_>) -> Result<Opened, OpenError> {
        let mut fragment = record.fragment;
        if self.encrypt_then_mac {
            let (covered, received) = split_end(fragment, mac.output_length()).ok_or(OpenError::Malformed)?;
            self.check_mac(mac, record, covered, received)?;
            fragment = covered;
        }
        let iv_length = if self.version == ProtocolVersion::TLS_1_0 { 0 } else { cipher.iv_length() };
        let (explicit_iv, ciphertext) = fragment.split_at_checked(iv_length).ok_or(OpenError::Malformed)?;
        let (_, last_block) = split_end(ciphertext, cipher.block_length()).ok_or(OpenError::Malformed)?;
        let iv = if iv_length == 0 { self.iv.as_bytes() } else { explicit_iv };
        let mut content = ciphertext.to_vec();
        cipher.decrypt(self.key.as_bytes(), iv, &mut content).ok_or(OpenError::Malformed)?;
        strip_padding(&mut content).ok_or(OpenError::Integrity)?;
        if !self.encrypt_then_mac {
            let (covered, received) = split_end(&content, mac.output_length()).ok_or(OpenError::Integrity)?;
            self.check_mac(mac, record, covered, received)?;
            content.truncate(covered.len());
        }
        if iv_length == 0 {
            self.iv = Secret::from_slice(last_block);
        }
        Ok(Opened { content_type: record.content_type, content })
    }

    fn check_mac(&self, mac: Hash, record: &Record<'_>, covered: &[u8], received: &[u8]) -> Result<(), OpenError> {
        let header = self.pseudo_header(record, covered.len())?;
        let computed = Prf::hmac(mac).compute(self.mac_key.as_bytes(), &[&header, covered]);
        (computed == *received).then_some(()).ok_or(OpenError::Integrity)
    }

    /// Sequence number, type, version and length: what MACs and AEADs up to TLS 1.2 cover besides the content.
    fn pseudo_header(&self, record: &Record<'_>, length: usize) -> Result<Vec<u8>, OpenError> {
        let length = u16::try_from(length).map_err(|_| OpenError::Malformed)?.to_be_bytes();
        Ok([&self.sequence.to_be_bytes()[..], &[record.content_type.0], &version(record), &length].concat())
    }

    /// The IV, its last eight bytes XORed with the sequence number (RFC 8446 section 5.3).
    fn xored_nonce(&self) -> Vec<u8> {
        let mut nonce = self.iv.as_bytes().to_vec();
        let sequence = self.sequence.to_be_bytes();
        nonce.iter_mut().rev().zip(sequence.iter().rev()).for_each(|(byte, sequence)| *byte ^= sequence);
        nonce
    }
}

fn version(record: &Record<'_>) -> [u8; 2] {
    record.legacy_record_version.0.to_be_bytes()
}

fn length(fragment: &[u8]) -> Result<[u8; 2], OpenError> {
    u16::try_from(fragment.len()).map(u16::to_be_bytes).map_err(|_| OpenError::Malformed)
}

fn split_end(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(length)?)
}

/// The last byte says how many bytes of padding, each of the same value, precede it.
fn strip_padding(content: &mut Vec<u8>) -> Option<()> {
    let padding_length = content.pop()?;
    for _ in 0..padding_length {
        content.pop_if(|byte| *byte == padding_length)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_parsers::tls::CipherSuite;

    const CONTENT: &[u8] = b"a finished or the like";

    fn opener(version: ProtocolVersion, suite: CipherSuite, encrypt_then_mac: bool) -> RecordOpener {
        let suite = Tls12Suite::new(version, suite).unwrap();
        let bytes: Vec<u8> = (0..).take(suite.key_block.total()).collect();
        let key_block = suite.key_block.split(&Secret::from_slice(&bytes)).unwrap();
        RecordOpener::tls12(version, suite, &key_block, Side::Server, encrypt_then_mac)
    }

    /// A record as a sender makes it, from the opener's keys and sequence number.
    fn cbc_record(opener: &RecordOpener) -> Vec<u8> {
        let RecordProtection::Cbc(cipher, mac) = opener.protection else { panic!("not CBC") };
        let mac_of = |covered: &[u8]| {
            let length = u16::try_from(covered.len()).unwrap().to_be_bytes();
            let sequence = opener.sequence.to_be_bytes();
            let parts: [&[u8]; 5] = [&sequence, &[22], &opener.version.0.to_be_bytes(), &length, covered];
            Prf::hmac(mac).compute(opener.mac_key.as_bytes(), &parts)
        };
        let mut data = CONTENT.to_vec();
        if !opener.encrypt_then_mac {
            data.extend_from_slice(mac_of(CONTENT).as_bytes());
        }
        let padding = u8::try_from(cipher.block_length() - 1 - data.len() % cipher.block_length()).unwrap();
        data.extend(vec![padding; usize::from(padding) + 1]);
        let explicit = if opener.version == ProtocolVersion::TLS_1_0 { vec![] } else { vec![9; cipher.iv_length()] };
        let iv = if explicit.is_empty() { opener.iv.as_bytes() } else { &explicit };
        cipher.encrypt(opener.key.as_bytes(), iv, &mut data).unwrap();
        let mut fragment = [explicit, data].concat();
        if opener.encrypt_then_mac {
            fragment.extend_from_slice(mac_of(&fragment).as_bytes());
        }
        fragment
    }

    fn open(opener: &mut RecordOpener, fragment: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (content_type, legacy_record_version) = (ContentType::HANDSHAKE, opener.version);
        opener.open(&Record { content_type, legacy_record_version, fragment }).map(|opened| opened.content)
    }

    #[test]
    fn cbc_records_of_every_version_open_in_turn() {
        for version in [ProtocolVersion::TLS_1_0, ProtocolVersion::TLS_1_1, ProtocolVersion::TLS_1_2] {
            for encrypt_then_mac in [false, true] {
                let mut opener = opener(version, CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA, encrypt_then_mac);
                for _ in 0..3 {
                    let mut fragment = cbc_record(&opener);
                    for at in 0..fragment.len() {
                        fragment[at] ^= 1;
                        assert_eq!(open(&mut opener, &fragment), Err(OpenError::Integrity), "{version} byte {at}");
                        fragment[at] ^= 1;
                        assert!(open(&mut opener, &fragment[..at]).is_err(), "{version} cut to {at}");
                    }
                    assert_eq!(open(&mut opener, &fragment).as_deref(), Ok(CONTENT), "{version}");
                }
                assert_eq!(opener.sequence, 3);
            }
        }
    }

    #[test]
    fn chacha20_records_of_tls_1_2_take_their_nonce_from_the_sequence() {
        let suite = CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
        let mut opener = opener(ProtocolVersion::TLS_1_2, suite, false);
        for sequence in 0..3 {
            let mut nonce = opener.iv.as_bytes().to_vec();
            nonce[11] ^= sequence;
            let aad = [0, 0, 0, 0, 0, 0, 0, sequence, 22, 3, 3, 0, u8::try_from(CONTENT.len()).unwrap()];
            let sealed = Aead::ChaCha20Poly1305.seal(opener.key.as_bytes(), &nonce, &aad, CONTENT).unwrap();
            assert_eq!(open(&mut opener, &sealed[1..]), Err(OpenError::Integrity));
            assert_eq!(open(&mut opener, &sealed).as_deref(), Ok(CONTENT));
        }
    }

    #[test]
    fn record_of_nothing_but_padding_is_refused() {
        let keys = TrafficKeys { write_key: Secret::zeroed(32), write_iv: Secret::zeroed(12) };
        let mut opener = RecordOpener::tls13(Aead::ChaCha20Poly1305, keys);
        let sealed = Aead::ChaCha20Poly1305.seal(&[0; 32], &[0; 12], &[22, 3, 4, 0, 18], &[0, 0]).unwrap();
        assert_eq!(open(&mut opener, &sealed), Err(OpenError::Malformed));
    }
}
