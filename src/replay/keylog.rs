//! Secrets of TLS connections as libraries log them: the lines of an SSLKEYLOGFILE, from a file or from a capture.

use std::collections::BTreeMap;

use crate::crypto::Secret;
use crate::hex;

/// Secrets by the client random of their connection. It may grow while a capture is read.
#[derive(Default)]
pub struct KeyLog {
    by_random: BTreeMap<[u8; 32], Vec<(Label, Secret)>>,
    count: usize,
}

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `CLIENT_RANDOM`: the master secret of TLS 1.2 and before.
    MasterSecret,
    /// `CLIENT_EARLY_TRAFFIC_SECRET`.
    ClientEarlyTraffic,
    /// `CLIENT_HANDSHAKE_TRAFFIC_SECRET`.
    ClientHandshakeTraffic,
    /// `SERVER_HANDSHAKE_TRAFFIC_SECRET`.
    ServerHandshakeTraffic,
    /// `CLIENT_TRAFFIC_SECRET_0`.
    ClientTraffic,
    /// `SERVER_TRAFFIC_SECRET_0`.
    ServerTraffic,
}

/// A line that is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the key log {fault}")]
pub struct KeyLogError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: KeyLogFault,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyLogFault {
    /// Three words are expected.
    #[error("is not a label, a client random and a secret")]
    Form,
    /// The second word.
    #[error("has a client random that is not 32 bytes in hexadecimal digits")]
    ClientRandom,
    /// The third word.
    #[error("has a secret that is not in hexadecimal digits, or of a length that its label does not have")]
    Secret,
    /// [`KeyLog::MOST`].
    #[error("is one too many: no more secrets are kept")]
    TooMany,
}

impl KeyLog {
    /// So many secrets are kept, of all connections.
    pub const MOST: usize = 1 << 20;

    /// Takes all lines that are right. Labels that are not known here are passed over.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn add(&mut self, text: &[u8]) -> Result<(), KeyLogError> {
        let mut result = Ok(());
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if let Err(fault) = self.line(text.trim_ascii()) {
                result = result.and(Err(KeyLogError { line, fault }));
            }
        }
        result
    }

    /// Nothing was logged.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there is any secret of that connection.
    pub fn knows(&self, client_random: &[u8; 32]) -> bool {
        self.by_random.contains_key(client_random)
    }

    /// A secret of a connection.
    pub fn secret(&self, client_random: &[u8; 32], label: Label) -> Option<&Secret> {
        let secrets = self.by_random.get(client_random)?;
        secrets.iter().find(|(known, _)| *known == label).map(|(_, secret)| secret)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), KeyLogFault> {
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        let mut words = std::str::from_utf8(line).map_err(|_| KeyLogFault::Form)?.split_ascii_whitespace();
        let (Some(label), Some(random), Some(secret), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyLogFault::Form);
        };
        let Some(label) = Label::from_name(label) else { return Ok(()) };
        let random = hex::decode(random).and_then(|random| random.try_into().ok()).ok_or(KeyLogFault::ClientRandom)?;
        let bytes = zeroize::Zeroizing::new(hex::decode(secret).ok_or(KeyLogFault::Secret)?);
        if !label.takes(bytes.len()) {
            return Err(KeyLogFault::Secret);
        }
        if self.secret(&random, label).is_some() {
            return Ok(());
        }
        if self.count >= Self::MOST {
            return Err(KeyLogFault::TooMany);
        }
        self.count += 1;
        self.by_random.entry(random).or_default().push((label, Secret::from_slice(&bytes)));
        Ok(())
    }
}

impl Label {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "CLIENT_RANDOM" => Self::MasterSecret,
            "CLIENT_EARLY_TRAFFIC_SECRET" => Self::ClientEarlyTraffic,
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Self::ClientHandshakeTraffic,
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => Self::ServerHandshakeTraffic,
            "CLIENT_TRAFFIC_SECRET_0" => Self::ClientTraffic,
            "SERVER_TRAFFIC_SECRET_0" => Self::ServerTraffic,
            _ => return None,
        })
    }

    /// A master secret has 48 bytes, a secret of TLS 1.3 as many as the hash of its suite.
    fn takes(self, length: usize) -> bool {
        match self {
            Self::MasterSecret => length == 48,
            _ => matches!(length, 32 | 48 | 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, random: u8, secret: usize) -> String {
        format!("{label} {} {}\r\n", hex::encode(&[random; 32]), hex::encode(&vec![9; secret]))
    }

    #[test]
    fn secrets_are_found_by_random_and_label() {
        let mut log = KeyLog::default();
        let text = ["# a comment\n\n", &line("CLIENT_RANDOM", 1, 48), &line("SERVER_TRAFFIC_SECRET_0", 2, 32)].concat();
        assert_eq!(log.add(text.as_bytes()), Ok(()));
        assert_eq!(log.add(line("EXPORTER_SECRET", 3, 32).as_bytes()), Ok(()));
        assert!(log.secret(&[1; 32], Label::MasterSecret).is_some_and(|secret| secret.as_bytes() == [9; 48]));
        assert!(log.secret(&[2; 32], Label::ServerTraffic).is_some());
        assert!(log.secret(&[2; 32], Label::ClientTraffic).is_none());
        assert!(log.knows(&[2; 32]) && !log.knows(&[3; 32]) && !log.is_empty());
    }

    #[test]
    fn a_wrong_line_is_named_and_the_others_are_taken() {
        let fault = |text: &str| KeyLog::default().add(text.as_bytes()).unwrap_err();
        assert_eq!(fault("\nCLIENT_RANDOM 00"), KeyLogError { line: 2, fault: KeyLogFault::Form });
        assert_eq!(fault("CLIENT_RANDOM 00 00").fault, KeyLogFault::ClientRandom);
        assert_eq!(fault(&line("CLIENT_RANDOM", 1, 47)).fault, KeyLogFault::Secret);
        let mut log = KeyLog::default();
        let text = ["\u{ff}\n", &line("CLIENT_RANDOM", 1, 48)].concat();
        assert_eq!(log.add(text.as_bytes()).map_err(|error| error.line), Err(1));
        assert!(log.knows(&[1; 32]));
    }
}
