//! The algorithms of a profile, prepared, and the part of them that a terminal can use.

use std::sync::{Arc, Mutex, PoisonError};

use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::identity::HelloRandom;
use super::transcript::recording;
use super::watch::watched;
use crate::crypto;
use crate::error::{Error, Reason};

/// Prepared once per profile, for sessions that prove who the terminal is and for those that do not.
pub(super) struct Algorithms {
    suites: Vec<CipherSuite>,
    plain: Arc<CryptoProvider>,
    proving: Arc<CryptoProvider>,
}

/// What one session uses.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Versions,
}

/// Configurations by what terminals can use. rustls makes much of an empty one, terminals differ little.
pub(super) struct Configurations<T> {
    made: Mutex<Vec<Made<T>>>,
}

struct Made<T> {
    wanted: Vec<CipherSuite>,
    proving: bool,
    chosen: Chosen,
    configuration: T,
}

/// How many different wishes of terminals are remembered.
const MOST: usize = 16;

impl<T: Clone> Configurations<T> {
    pub(super) fn new() -> Self {
        Self { made: Mutex::default() }
    }

    /// The configuration for these suites, made if there is none yet.
    ///
    /// # Errors
    /// As [`Algorithms::choose`], or what `make` says.
    pub(super) fn get(
        &self,
        algorithms: &Algorithms,
        wanted: &[CipherSuite],
        proving: bool,
        make: impl FnOnce(&Chosen) -> Result<T, Error>,
    ) -> Result<(Chosen, T), Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = made.iter().find(|made| made.proving == proving && made.wanted == wanted) {
            return Ok((found.chosen.clone(), found.configuration.clone()));
        }
        let chosen = algorithms.choose(wanted, proving)?;
        let configuration = make(&chosen)?;
        if made.len() >= MOST {
            made.clear();
        }
        made.push(Made {
            wanted: wanted.to_vec(),
            proving,
            chosen: chosen.clone(),
            configuration: configuration.clone(),
        });
        Ok((chosen, configuration))
    }
}

/// The versions that the suites belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    tls12: bool,
    tls13: bool,
}

impl Algorithms {
    /// # Errors
    /// `INTERNAL` for an unknown group or suite, or none.
    pub(super) fn new(groups: &[NamedGroup], suites: &[CipherSuite]) -> Result<Self, Error> {
        let mut plain = CryptoProvider::clone(&*crypto::provider(groups, suites)?);
        plain.cipher_suites.iter_mut().for_each(|suite| *suite = watched(*suite));
        let mut proving = plain.clone();
        proving.cipher_suites.iter_mut().for_each(|suite| *suite = recording(*suite));
        proving.secure_random = &HelloRandom;
        Ok(Self { suites: suites.to_vec(), plain: Arc::new(plain), proving: Arc::new(proving) })
    }

    /// What verifies certificates.
    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.plain
    }

    /// The profile's algorithms, with the suites that the terminal can use in the terminal's order.
    ///
    /// # Errors
    /// `UNSUPPORTED` if that leaves none.
    fn choose(&self, wanted: &[CipherSuite], proving: bool) -> Result<Chosen, Error> {
        let all = if proving { &self.proving } else { &self.plain };
        if wanted == self.suites {
            return Ok(Chosen { versions: Versions::of(&all.cipher_suites), provider: all.clone() });
        }
        let mut provider = CryptoProvider::clone(all);
        let mut allowed = std::mem::take(&mut provider.cipher_suites);
        for want in wanted {
            // Taken out, so that none is offered twice.
            let position = allowed.iter().position(|suite| u16::from(suite.suite()) == want.0);
            provider.cipher_suites.extend(position.map(|position| allowed.remove(position)));
        }
        if provider.cipher_suites.is_empty() {
            return Err(Error::new(
                Reason::UNSUPPORTED,
                "the terminal can use no cipher suite that policy allows: allow one more, or update the terminal",
            ));
        }
        Ok(Chosen { versions: Versions::of(&provider.cipher_suites), provider: Arc::new(provider) })
    }
}

impl Versions {
    fn of(suites: &[SupportedCipherSuite]) -> Self {
        let tls13 = suites.iter().any(|suite| suite.tls13().is_some());
        let tls12 = suites.iter().any(|suite| suite.tls13().is_none());
        Self { tls12, tls13 }
    }

    /// For rustls, newest first.
    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match (self.tls13, self.tls12) {
            (true, true) => &BOTH,
            (false, true) => BOTH.get(1..).unwrap_or_default(),
            (_, false) => BOTH.get(..1).unwrap_or_default(),
        }
    }

    /// Whether TLS 1.3 is among them.
    pub(super) fn tls13(self) -> bool {
        self.tls13
    }

    /// For people.
    pub(super) fn text(self) -> &'static str {
        match (self.tls13, self.tls12) {
            (true, true) => "TLS 1.3 or 1.2",
            (false, true) => "TLS 1.2",
            (_, false) => "TLS 1.3",
        }
    }
}
