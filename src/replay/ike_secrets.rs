//! Secrets of IKE SAs as they are given on the command line: keyferry's own lines of JSON, and Wireshark's tables.
//!
//! They come in as text and are looked up by the SPIs of an SA.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::crypto::{Aead, AesKey, Cipher, Integrity, Secret, Tag};
use crate::hex;
use crate::ike::v2::protect::Protection;

/// An SPI of IKEv2 or a cookie of IKEv1.
pub type Spi = [u8; 8];

/// All secrets that were given.
#[derive(Default)]
pub struct IkeSecrets {
    own: BTreeMap<(Spi, Spi), Line>,
    psk: Option<Secret>,
    v1_keys: BTreeMap<Spi, Secret>,
    v2_keys: BTreeMap<(Spi, Spi), V2Keys>,
}

/// What one line of `--ike-secrets` says of an SA.
#[derive(Default)]
struct Line {
    g_ir: Option<Secret>,
    /// More than one where it can be read as text and as hexadecimal digits: what fits is the one that was meant.
    psks: Vec<Secret>,
}

/// What Wireshark's `ikev2_decryption_table` has of an SA.
pub(super) struct V2Keys {
    pub(super) protection: Protection,
    pub(super) sk_ei: Secret,
    pub(super) sk_er: Secret,
    pub(super) sk_ai: Secret,
    pub(super) sk_ar: Secret,
}

/// A line that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{file}, line {line}: {fault}")]
pub struct SecretsError {
    /// Name of the file.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: String,
}

/// Unknown names are refused: they are likely misspelt, and a secret that is not used helps nobody.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine {
    initiator_spi: String,
    responder_spi: String,
    g_ir: Option<String>,
    psk: Option<String>,
}

impl IkeSecrets {
    /// `--psk`: the shared key of every SA that has none of its own.
    pub fn set_psk(&mut self, psk: &str) {
        self.psk = Some(Secret::from_slice(psk.as_bytes()));
    }

    /// `--ike-secrets`: one JSON object per line, with `initiator_spi`, `responder_spi`, and `g_ir` (g^xy as long as the
    /// group's prime) or `psk` or both. All are hexadecimal; a `psk` is text, too, if that is what fits. Empty lines
    /// and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// The first line that is not so; those before it count.
    pub fn add_json_lines(&mut self, file: &str, text: &str) -> Result<(), SecretsError> {
        each_line(file, text, |line| {
            let json: JsonLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
            if json.g_ir.is_none() && json.psk.is_none() {
                return Err("has neither `g_ir` nor `psk`".to_owned());
            }
            let spis = (spi("initiator_spi", &json.initiator_spi)?, spi("responder_spi", &json.responder_spi)?);
            let g_ir = json.g_ir.as_deref().map(|g_ir| secret("g_ir", g_ir)).transpose()?;
            let psks = json.psk.as_deref().map(readings).unwrap_or_default();
            let entry = self.own.entry(spis).or_default();
            entry.g_ir = g_ir.or(entry.g_ir.take());
            entry.psks.extend(psks);
            Ok(())
        })
    }

    /// Wireshark's `ikev1_decryption_table`: initiator's cookie and encryption key, both hexadecimal.
    ///
    /// # Errors
    /// The first line that is not so; those before it count.
    pub fn add_v1_table(&mut self, file: &str, text: &str) -> Result<(), SecretsError> {
        each_line(file, text, |line| {
            let columns = columns(line)?;
            let [cookie, key] = columns.as_slice() else {
                return Err(format!("has {} columns instead of 2: initiator's cookie, encryption key", columns.len()));
            };
            self.v1_keys.insert(spi("the initiator's cookie", cookie)?, secret("the encryption key", key)?);
            Ok(())
        })
    }

    /// Wireshark's `ikev2_decryption_table`: SPIi, SPIr, SK_ei, SK_er, encryption algorithm, SK_ai, SK_ar, integrity
    /// algorithm. The keys of an AEAD end with its salt.
    ///
    /// # Errors
    /// The first line that is not so; those before it count.
    pub fn add_v2_table(&mut self, file: &str, text: &str) -> Result<(), SecretsError> {
        each_line(file, text, |line| {
            let columns = columns(line)?;
            let [spi_i, spi_r, sk_ei, sk_er, encryption, sk_ai, sk_ar, integrity] = columns.as_slice() else {
                return Err(format!(
                    "has {} columns instead of 8: SPIi, SPIr, SK_ei, SK_er, encryption algorithm, SK_ai, SK_ar, \
                     integrity algorithm",
                    columns.len()
                ));
            };
            let keys = V2Keys {
                protection: protection(encryption, integrity)?,
                sk_ei: secret("SK_ei", sk_ei)?,
                sk_er: secret("SK_er", sk_er)?,
                sk_ai: secret("SK_ai", sk_ai)?,
                sk_ar: secret("SK_ar", sk_ar)?,
            };
            keys.check_lengths()?;
            self.v2_keys.insert((spi("SPIi", spi_i)?, spi("SPIr", spi_r)?), keys);
            Ok(())
        })
    }

    pub(super) fn g_ir(&self, spis: (Spi, Spi)) -> Option<&Secret> {
        self.own.get(&spis)?.g_ir.as_ref()
    }

    /// The shared keys to try, an SA's own before the one for all.
    pub(super) fn psks(&self, spis: (Spi, Spi)) -> Vec<&Secret> {
        let own = self.own.get(&spis).map(|line| line.psks.as_slice()).unwrap_or_default();
        if own.is_empty() { self.psk.iter().collect() } else { own.iter().collect() }
    }

    pub(super) fn v1_key(&self, cky_i: Spi) -> Option<&Secret> {
        self.v1_keys.get(&cky_i)
    }

    pub(super) fn v2_keys(&self, spis: (Spi, Spi)) -> Option<&V2Keys> {
        self.v2_keys.get(&spis)
    }

    /// Whether something was given for just this SA.
    pub(super) fn are_for(&self, spis: (Spi, Spi)) -> bool {
        self.own.contains_key(&spis) || self.v1_keys.contains_key(&spis.0) || self.v2_keys.contains_key(&spis)
    }
}

impl V2Keys {
    fn check_lengths(&self) -> Result<(), String> {
        let (e, a) = (self.protection.encryption_key_length(), self.protection.integrity_key_length());
        for (name, key, length) in
            [("SK_ei", &self.sk_ei, e), ("SK_er", &self.sk_er, e), ("SK_ai", &self.sk_ai, a), ("SK_ar", &self.sk_ar, a)]
        {
            let found = key.as_bytes().len();
            if found != length {
                return Err(format!("{name} has {found} bytes, and the algorithm takes {length}"));
            }
        }
        Ok(())
    }
}

fn each_line(file: &str, text: &str, mut read: impl FnMut(&str) -> Result<(), String>) -> Result<(), SecretsError> {
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |fault| SecretsError { file: file.to_owned(), line: number.saturating_add(1), fault };
        read(line).map_err(wrong)?;
    }
    Ok(())
}

/// The columns of a table, quoted or not; a quote in quotes is doubled.
fn columns(line: &str) -> Result<Vec<String>, String> {
    let (mut columns, mut column, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(std::mem::take(&mut column).trim().to_owned()),
            other => column.push(other),
        }
    }
    if quoted {
        return Err("has a quote that is not closed".to_owned());
    }
    columns.push(column.trim().to_owned());
    Ok(columns)
}

fn spi(name: &str, text: &str) -> Result<Spi, String> {
    let bytes = bytes(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| format!("{name} is not 16 hexadecimal digits"))
}

fn secret(name: &str, text: &str) -> Result<Secret, String> {
    let bytes = bytes(text).ok_or_else(|| format!("{name} is not an even number of hexadecimal digits"))?;
    Ok(Secret::from_slice(&bytes))
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text))
}

/// A shared key is given as text or as hexadecimal digits, and some can be read either way.
fn readings(psk: &str) -> Vec<Secret> {
    let as_hex = bytes(psk).filter(|bytes| !bytes.is_empty());
    as_hex.iter().map(|bytes| Secret::from_slice(bytes)).chain([Secret::from_slice(psk.as_bytes())]).collect()
}

/// The algorithms by Wireshark's names, of which what stands in brackets, the RFC, does not matter.
fn protection(encryption: &str, integrity: &str) -> Result<Protection, String> {
    let unknown = |name: &str| format!("the algorithm `{name}` is not known here");
    let name = encryption.split('[').next().unwrap_or_default().trim().to_ascii_uppercase();
    if let Some(aead) = aead(&name) {
        return Ok(Protection::Aead(aead));
    }
    let cipher = match name.strip_prefix("AES-CBC-").map(size) {
        Some(size) => size.map(Cipher::AesCbc),
        None => match name.strip_prefix("AES-CTR-").map(size) {
            Some(size) => size.map(Cipher::AesCtr),
            None if name.starts_with("3DES") => Some(Cipher::TripleDesCbc),
            None => None,
        },
    };
    let integrity_name = integrity.split('[').next().unwrap_or_default().trim().to_ascii_uppercase();
    let mac = match integrity_name.as_str() {
        "HMAC_MD5_96" => Some(Integrity::HmacMd5_96),
        "HMAC_SHA1_96" => Some(Integrity::HmacSha1_96),
        "HMAC_SHA2_256_128" => Some(Integrity::HmacSha2_256_128),
        "HMAC_SHA2_384_192" => Some(Integrity::HmacSha2_384_192),
        "HMAC_SHA2_512_256" => Some(Integrity::HmacSha2_512_256),
        _ => None,
    };
    let cipher = cipher.ok_or_else(|| unknown(encryption))?;
    Ok(Protection::EncryptThenMac(cipher, mac.ok_or_else(|| unknown(integrity))?))
}

/// `AES-GCM-128 with 16 octet ICV`.
fn aead(name: &str) -> Option<Aead> {
    let (algorithm, icv) = name.split_once(" WITH ")?;
    let tag = match icv.split_whitespace().next()? {
        "8" => Tag::Octets8,
        "12" => Tag::Octets12,
        "16" => Tag::Octets16,
        _ => return None,
    };
    match algorithm.rsplit_once('-')? {
        ("AES-GCM", bits) => Some(Aead::AesGcm(size(bits)?, tag)),
        ("AES-CCM", bits) => Some(Aead::AesCcm(size(bits)?, tag)),
        _ => None,
    }
}

fn size(bits: &str) -> Option<AesKey> {
    AesKey::from_bits(bits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_json_are_found_by_their_spis() {
        let mut secrets = IkeSecrets::default();
        let line =
            r#"{"initiator_spi":"0102030405060708","responder_spi":"1112131415161718","g_ir":"abcd","psk":"6869"}"#;
        secrets.add_json_lines("x", &format!("# mine\n\n{line}\n")).unwrap();
        let spis = ([1, 2, 3, 4, 5, 6, 7, 8], [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        assert_eq!(secrets.g_ir(spis).unwrap().as_bytes(), [0xab, 0xcd]);
        let psks: Vec<&[u8]> = secrets.psks(spis).into_iter().map(Secret::as_bytes).collect();
        assert_eq!(psks, [b"hi".as_slice(), b"6869"]);
        assert!(secrets.are_for(spis) && !secrets.are_for((spis.0, [0; 8])));
    }

    #[test]
    fn wiresharks_tables_are_read() {
        let mut secrets = IkeSecrets::default();
        secrets.add_v1_table("x", "0102030405060708,00112233\n").unwrap();
        assert_eq!(secrets.v1_key([1, 2, 3, 4, 5, 6, 7, 8]).unwrap().as_bytes(), [0, 0x11, 0x22, 0x33]);
        let (e, a) = ("00".repeat(16), "00".repeat(32));
        let line = |cipher| {
            format!(
                "0102030405060708,1112131415161718,{e},{e},\"{cipher} [RFC3602]\",{a},{a},\"HMAC_SHA2_256_128 [RFC4868]\""
            )
        };
        secrets.add_v2_table("x", &line("AES-CBC-128")).unwrap();
        let error = secrets.add_v2_table("x", &line("AES-CBC-256")).unwrap_err().to_string();
        assert_eq!(error, "x, line 1: SK_ei has 16 bytes, and the algorithm takes 32");
        assert_eq!(aead("AES-GCM-256 WITH 12 OCTET ICV"), Some(Aead::AesGcm(AesKey::Bits256, Tag::Octets12)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |text: &str| IkeSecrets::default().add_json_lines("keys", text).unwrap_err().to_string();
        let spis = r#""initiator_spi":"0102030405060708","responder_spi":"1112131415161718""#;
        assert_eq!(error(&format!("\n{{{spis}}}")), "keys, line 2: has neither `g_ir` nor `psk`");
        assert!(error(&format!("{{{spis},\"g_ir\":\"abc\"}}")).contains("g_ir is not an even number"));
        assert!(error(r#"{"initiator_spi":"01","responder_spi":"02","psk":"x"}"#).contains("not 16 hexadecimal"));
        assert!(error("{").starts_with("keys, line 1: "));
        let error = IkeSecrets::default().add_v1_table("t", "01").unwrap_err().to_string();
        assert_eq!(error, "t, line 1: has 1 columns instead of 2: initiator's cookie, encryption key");
    }
}
