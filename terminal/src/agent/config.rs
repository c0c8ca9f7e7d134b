//! `keyferry-terminal.toml`: who this terminal is, where its gateway is, and the key they share.

use keyferry_channel::{ChannelKey, Id};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use zeroize::Zeroizing;

/// What the file means. Made by [`Config::load`] or [`Config::parse`], or by hand in a program.
#[derive(Clone)]
pub struct Config {
    /// The name that the gateway's operator gave this terminal; for messages only.
    pub id: String,
    /// Where the gateway's channel listens.
    pub gateway: SocketAddr,
    /// This terminal's channel id.
    pub sender_id: Id,
    /// The gateway's channel id.
    pub gateway_id: Id,
    /// The channel key as enrolled, epoch 0. Used once: afterwards the state file holds its successors.
    pub key: Option<ChannelKey>,
    /// Where `key` came from, if it has a file of its own: erased once the state file has taken over.
    pub key_file: Option<PathBuf>,
    /// The file with the channel's state. Its directory must exist.
    pub state: PathBuf,
    /// The socket of the running agent.
    pub control: PathBuf,
}

/// A mistake in the configuration: where, what, and how to put it right.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What to change.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}\n  {}", self.problem, self.remedy)
    }
}

impl std::error::Error for ConfigError {}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: String,
    gateway: Spanned<String>,
    sender_id: Spanned<String>,
    gateway_id: Spanned<String>,
    key: Option<Spanned<String>>,
    key_file: Option<Spanned<PathBuf>>,
    state: PathBuf,
    control: Option<PathBuf>,
}

impl Config {
    /// Reads the file. One that holds a key must not be readable for others.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let config = Self::parse(path, &text)?;
        if config.key.is_some() && config.key_file.is_none() {
            refuse_public(path)?;
        }
        Ok(config)
    }

    /// Reads the text of the file at `path`, from which relative paths count.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        let file: File = toml::from_str(text).map_err(|error| {
            let remedy = "the file has id, gateway, sender_id, gateway_id, key_file (or key), state; \
                          `keyferry-terminal -h` shows one";
            source.error(error.span(), error.message().to_owned(), remedy)
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let state = directory.join(&file.state);
        let control = match file.control {
            Some(control) => directory.join(control),
            None => PathBuf::from(format!("{}.sock", state.display())),
        };
        let key_file = file.key_file.as_ref().map(|path| directory.join(path.get_ref()));
        let key = match (file.key, &file.key_file) {
            (Some(_), Some(other)) => {
                let problem = "key and key_file are both given".to_owned();
                return Err(source.error(Some(other.span()), problem, "keep one of them"));
            }
            (Some(key), None) => Some(source.key(key)?),
            _ => key_file.as_deref().map(key_in_file).transpose()?.flatten(),
        };
        let config = Self {
            id: file.id,
            gateway: source.gateway(&file.gateway)?,
            sender_id: source.id("sender_id", &file.sender_id)?,
            gateway_id: source.id("gateway_id", &file.gateway_id)?,
            key,
            key_file,
            state,
            control,
        };
        if config.sender_id == config.gateway_id {
            let problem = "sender_id and gateway_id are the same".to_owned();
            let remedy = "copy both from what `keyferry terminal add` printed";
            return Err(source.error(Some(file.sender_id.span()), problem, remedy));
        }
        Ok(config)
    }
}

/// The text and where it comes from, for errors that name the line.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: Option<Range<usize>>, problem: String, remedy: &str) -> ConfigError {
        let before = at.and_then(|span| self.text.get(..span.start));
        ConfigError {
            file: self.path.to_owned(),
            line: before.map(|before| before.matches('\n').count().saturating_add(1)),
            problem,
            remedy: remedy.to_owned(),
        }
    }

    fn gateway(&self, value: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        value.get_ref().parse().map_err(|_| {
            let problem = format!("gateway {:?} is not an address with a port", value.get_ref());
            self.error(Some(value.span()), problem, "write it like \"10.7.1.1:5683\" or \"[fd07:1::1]:5683\"")
        })
    }

    fn id(&self, name: &str, value: &Spanned<String>) -> Result<Id, ConfigError> {
        let id = from_hex(value.get_ref()).and_then(|bytes| Id::try_from(&bytes[..]).ok());
        id.ok_or_else(|| {
            let problem = format!("{name} {:?} is not 1 to 7 bytes in hex", value.get_ref());
            self.error(Some(value.span()), problem, "copy it from what `keyferry terminal add` printed")
        })
    }

    fn key(&self, value: Spanned<String>) -> Result<ChannelKey, ConfigError> {
        let span = value.span();
        channel_key(&Zeroizing::new(value.into_inner())).ok_or_else(|| {
            // The value itself stays out of the message: it may be a key with a slip of the pen.
            let problem = "key is not 32 bytes in hex (64 digits)".to_owned();
            self.error(Some(span), problem, "copy it from what `keyferry terminal add` printed")
        })
    }
}

/// The key in a file of its own. Absent is fine: it is erased after first use.
fn key_in_file(path: &Path) -> Result<Option<ChannelKey>, ConfigError> {
    if !path.exists() {
        return Ok(None);
    }
    refuse_public(path)?;
    let text = read(path)?;
    if text.bytes().all(|byte| byte == 0) {
        // An erasure that was interrupted.
        return Ok(None);
    }
    let key = channel_key(text.trim());
    key.map(Some).ok_or_else(|| ConfigError {
        file: path.to_owned(),
        line: Some(1),
        problem: "this is not a key of 32 bytes in hex (64 digits)".to_owned(),
        remedy: "copy it from what `keyferry terminal add` printed".to_owned(),
    })
}

fn read(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| ConfigError {
        file: path.to_owned(),
        line: None,
        problem: format!("cannot be read: {error}"),
        remedy: "check the path (--config) and the permissions".to_owned(),
    })
}

fn refuse_public(path: &Path) -> Result<(), ConfigError> {
    let mode = std::fs::metadata(path).map(|data| data.permissions().mode()).unwrap_or_default();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(ConfigError {
        file: path.to_owned(),
        line: None,
        problem: format!("holds a key and is open to other users (mode {:03o})", mode & 0o777),
        remedy: format!("run: chmod 600 {}", path.display()),
    })
}

fn channel_key(digits: &str) -> Option<ChannelKey> {
    let bytes = from_hex(digits)?;
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.as_slice().try_into().ok()?);
    Some(ChannelKey::from_bytes(*key))
}

fn from_hex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks_exact(2) {
        let digits = pair.iter().map(|digit| char::from(*digit).to_digit(16));
        let value = digits.into_iter().try_fold(0, |value, digit| Some(value * 16 + digit?))?;
        bytes.push(u8::try_from(value).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "id = \"meter-7\"\ngateway = \"10.7.1.1:5683\"\nsender_id = \"0a\"\ngateway_id = \"00\"\n\
        key = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"\nstate = \"meter.state\"\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("/etc/kf/keyferry-terminal.toml"), text)
    }

    #[test]
    fn reads_a_file_and_fills_in_the_rest() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.gateway, "10.7.1.1:5683".parse().unwrap());
        assert_eq!(config.sender_id.as_bytes(), [10]);
        assert_eq!(config.key.unwrap().as_bytes()[31], 31);
        assert_eq!(config.state, Path::new("/etc/kf/meter.state"));
        assert_eq!(config.control, Path::new("/etc/kf/meter.state.sock"));
    }

    #[test]
    fn names_the_line_and_the_remedy() {
        let cases = [
            ("gateway = \"10.7.1.1:5683\"", "gateway = \"10.7.1.1\"", 2, "address with a port"),
            ("sender_id = \"0a\"", "sender_id = \"0\"", 3, "sender_id"),
            ("sender_id = \"0a\"", "sender_id = \"00\"", 3, "the same"),
            ("gateway_id = \"00\"", "gateway_id = \"0102030405060708\"", 4, "1 to 7 bytes"),
            ("key = \"00", "key = \"", 5, "32 bytes"),
            ("key = \"00", "key = \"xx", 5, "32 bytes"),
            ("state =", "stat =", 6, "unknown field"),
            ("id = \"meter-7\"\n", "id = \n", 1, ""),
        ];
        for (from, to, line, problem) in cases {
            let text = GOOD.replacen(from, to, 1);
            let error = parse(&text).err().unwrap_or_else(|| panic!("accepted {to}"));
            assert_eq!(error.line, Some(line), "{error}");
            assert!(error.problem.contains(problem), "{error}");
            assert!(!error.remedy.is_empty());
            assert!(!error.to_string().contains("1a1b1c"), "a key must not be shown: {error}");
        }
    }

    #[test]
    fn refuses_a_key_that_others_can_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.toml");
        std::fs::write(&path, GOOD).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Config::load(&path).err().expect("refused");
        assert!(error.remedy.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Config::load(&path).is_ok());
    }
}
