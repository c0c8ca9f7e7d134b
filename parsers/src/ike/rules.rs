//! Which payloads each message of each exchange has: how often, encrypted or not, and which come first.
//!
//! The rules are data ([`EXCHANGES`]); [`check`] goes through them before an engine looks at a message, and for a message
//! that was captured. They are those of RFC 2408, 2409 and 3947 for IKEv1, of RFC 7296, 5723, 7383, 9242 and 9370 for
//! IKEv2. Payloads without a known type are not for these rules: IKEv1 ignores them, IKEv2 goes by the critical bit.

mod table;

use core::fmt;

use super::{ExchangeType, PayloadType};

pub use table::EXCHANGES;

/// Which message of an exchange it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// IKEv1: the message of that number, counted from 1 over both peers.
    Message(u8),
    /// IKEv2: the initiator of the exchange asks.
    Request,
    /// IKEv2: the responder of the exchange answers.
    Response,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(number) => write!(f, "message {number}"),
            Self::Request => f.write_str("request"),
            Self::Response => f.write_str("response"),
        }
    }
}

/// The forms that one message of one exchange may have.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// The exchange.
    pub exchange_type: ExchangeType,
    /// The message; `None`: each of them.
    pub position: Option<Position>,
    /// The usual form, then others.
    pub forms: &'static [Form],
}

/// One form of a message.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The payloads it begins with.
    pub first: &'static [PayloadType],
    /// What it may contain; any other payload that has a name is too much.
    pub rules: &'static [Rule],
}

/// How often a payload is there.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The payload, and another that does as well, or NONE.
    pub payloads: [PayloadType; 2],
    /// At least so many.
    pub min: u8,
    /// At most so many.
    pub max: u8,
    /// Whether they are encrypted.
    pub protection: Protection,
}

/// Whether a payload is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// It must be.
    Encrypted,
    /// It must not be.
    Clear,
    /// As the sender likes.
    Either,
}

/// A message is not as the rules of its exchange want it. Displayed in plain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleBroken {
    /// The exchange.
    pub exchange_type: ExchangeType,
    /// The message.
    pub position: Position,
    /// The payload that is the matter.
    pub payload_type: PayloadType,
    /// What the matter is.
    pub breach: Breach,
}

/// What can be the matter with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// It is not there.
    Missing {
        /// What would have done as well.
        or: Option<PayloadType>,
    },
    /// Too many of them are there.
    TooMany {
        /// How many there may be.
        max: u8,
        /// How many there are.
        found: usize,
    },
    /// It does not belong in this message.
    Unexpected,
    /// It is in the clear, and has to be encrypted.
    NotEncrypted,
    /// It is encrypted, and has to be in the clear.
    Encrypted,
    /// It is not the one that has to come at that place.
    NotFirst,
    /// No message of that exchange has that position.
    NoSuchMessage,
}

impl fmt::Display for RuleBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exchange_type, position, payload_type, breach } = self;
        write!(f, "{exchange_type} {position}")?;
        match breach {
            Breach::Missing { or: None } => write!(f, " has no {payload_type} payload"),
            Breach::Missing { or: Some(or) } => write!(f, " has neither {payload_type} nor {or} payload"),
            Breach::TooMany { max, found } => {
                write!(f, " has {found} {payload_type} payloads, at most {max} belong there")
            }
            Breach::Unexpected => write!(f, " has a payload of type {payload_type}, which does not belong there"),
            Breach::NotEncrypted => write!(f, " has a payload of type {payload_type} that is not encrypted"),
            Breach::Encrypted => {
                write!(f, " has an encrypted payload of type {payload_type}, which has to be in the clear")
            }
            Breach::NotFirst => write!(f, " has its {payload_type} payload too late"),
            Breach::NoSuchMessage => f.write_str(" does not exist"),
        }
    }
}

impl core::error::Error for RuleBroken {}

/// The payloads of a message by their types.
#[derive(Clone, Copy, Debug)]
pub struct Payloads<'a> {
    /// What can be read by anyone; in IKEv2 with SK or SKF.
    pub clear: &'a [PayloadType],
    /// What was encrypted; `None` if it could not be decrypted, and then what might be inside is not missed.
    pub encrypted: Option<&'a [PayloadType]>,
}

impl<'a> Payloads<'a> {
    /// A message without encryption.
    pub const fn clear(clear: &'a [PayloadType]) -> Self {
        Self { clear, encrypted: Some(&[]) }
    }

    fn all(&self) -> impl Iterator<Item = PayloadType> {
        self.clear.iter().chain(self.encrypted.unwrap_or_default()).copied()
    }

    /// Whether it is a piece of a message, which says nothing before it is put together.
    fn is_fragment(&self) -> bool {
        matches!(self.clear, [PayloadType::FRAGMENT])
            || self.clear.contains(&PayloadType::V2_SKF) && self.encrypted.is_none()
    }
}

/// Whether a message is as one of the forms of its exchange wants it; if not, why it is not of the form that comes
/// closest. Messages of exchanges without rules pass, and so do fragments.
pub fn check(exchange_type: ExchangeType, position: Position, payloads: Payloads<'_>) -> Result<(), RuleBroken> {
    if payloads.is_fragment() {
        return Ok(());
    }
    let broken = |(payload_type, breach)| RuleBroken { exchange_type, position, payload_type, breach };
    let mut exchanges = EXCHANGES.iter().filter(|exchange| exchange.exchange_type == exchange_type).peekable();
    if exchanges.peek().is_none() {
        return Ok(());
    }
    let exchange = exchanges
        .find(|exchange| exchange.position.is_none_or(|which| which == position))
        .ok_or_else(|| broken((PayloadType::NONE, Breach::NoSuchMessage)))?;
    let mut closest: Option<(PayloadType, Breach)> = None;
    for form in exchange.forms {
        match form.check(payloads) {
            Ok(()) => return Ok(()),
            Err(breach) if closest.is_none_or(|(_, before)| is_closer(breach.1, before)) => closest = Some(breach),
            Err(_) => {}
        }
    }
    closest.map_or(Ok(()), |breach| Err(broken(breach)))
}

/// A form that lacks something is closer to a message than one in which something of it has no place.
fn is_closer(breach: Breach, than: Breach) -> bool {
    !matches!(breach, Breach::Unexpected) && matches!(than, Breach::Unexpected)
}

impl Form {
    fn check(&self, payloads: Payloads<'_>) -> Result<(), (PayloadType, Breach)> {
        self.check_places(payloads)?;
        self.check_order(payloads)?;
        self.rules.iter().try_for_each(|rule| rule.check(payloads))
    }

    /// Every payload is where a rule allows it.
    fn check_places(&self, payloads: Payloads<'_>) -> Result<(), (PayloadType, Breach)> {
        let clear = payloads.clear.iter().map(|payload_type| (payload_type, Protection::Clear));
        let encrypted = payloads.encrypted.unwrap_or_default().iter().map(|each| (each, Protection::Encrypted));
        for (payload_type, protection) in clear.chain(encrypted) {
            if payload_type.name().is_none() {
                continue;
            }
            let Some(rule) = self.rules.iter().find(|rule| rule.payloads.contains(payload_type)) else {
                return Err((*payload_type, Breach::Unexpected));
            };
            match (rule.protection, protection) {
                (Protection::Encrypted, Protection::Clear) => return Err((*payload_type, Breach::NotEncrypted)),
                (Protection::Clear, Protection::Encrypted) => return Err((*payload_type, Breach::Encrypted)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Those that have to come first do, if they are there.
    fn check_order(&self, payloads: Payloads<'_>) -> Result<(), (PayloadType, Breach)> {
        let misplaced = |(payload_type, expected): (PayloadType, PayloadType)| {
            payload_type != expected && payloads.all().any(|other| other == expected)
        };
        match payloads.all().zip(self.first.iter().copied()).find(|pair| misplaced(*pair)) {
            Some((_, expected)) => Err((expected, Breach::NotFirst)),
            None => Ok(()),
        }
    }
}

impl Rule {
    /// As a [`Rule::max`]: any number.
    pub const MANY: u8 = u8::MAX;

    fn check(&self, payloads: Payloads<'_>) -> Result<(), (PayloadType, Breach)> {
        let [payload, other] = self.payloads;
        let mut these = payloads.all().filter(|payload_type| self.payloads.contains(payload_type)).peekable();
        let first = these.peek().copied().unwrap_or(payload);
        let found = these.count();
        let may_be_hidden = payloads.encrypted.is_none() && self.protection != Protection::Clear;
        if found < usize::from(self.min) && !may_be_hidden {
            return Err((first, Breach::Missing { or: (other != PayloadType::NONE).then_some(other) }));
        }
        if found > usize::from(self.max) && self.max != Self::MANY {
            return Err((first, Breach::TooMany { max: self.max, found }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
