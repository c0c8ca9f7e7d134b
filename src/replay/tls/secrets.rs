//! With a connection's secrets: opens its records, and computes every Finished again.

use keyferry_parsers::tls::{Handshake, HandshakeType, ProtocolVersion, Record};

use super::told::{EarlyData, Told};
use crate::crypto::{Aead, Secret};
use crate::hex;
use crate::replay::account::{Side, Verification};
use crate::replay::keylog::{KeyLog, Label};
use crate::tls::keymat::suite::{Tls12Suite, tls13_suite};
use crate::tls::keymat::tls13::SuiteHash;
use crate::tls::keymat::{self, KeyBlock};
use crate::tls::protect::{OpenError, Opened, RecordOpener};

/// Checks one handshake.
pub(super) struct Secrets {
    /// The messages so far, as they are hashed.
    transcript: Vec<u8>,
    most: usize,
    schedule: Schedule,
    openers: Sides<Option<RecordOpener>>,
    finished: Sides<bool>,
    /// Something was wrong.
    wrong: bool,
    /// Not all was seen, so that what seems wrong need not be.
    incomplete: bool,
    /// Name and value of every secret and key.
    keys: Vec<(String, Secret)>,
}

/// One of each side.
#[derive(Default)]
struct Sides<T> {
    client: T,
    server: T,
}

impl<T> Sides<T> {
    fn of(&mut self, side: Side) -> &mut T {
        match side {
            Side::Initiator => &mut self.client,
            Side::Responder => &mut self.server,
        }
    }
}

enum Schedule {
    /// There is no ServerHello yet, or no way from its suite to keys.
    None,
    Tls12 {
        suite: Tls12Suite,
        version: ProtocolVersion,
        encrypt_then_mac: bool,
        master: Secret,
        key_block: KeyBlock,
    },
    Tls13 {
        hash: SuiteHash,
        aead: Aead,
        client: Secret,
        server: Secret,
    },
}

/// What became of a protected record.
pub(super) enum Content {
    /// It was opened.
    Open(Opened),
    /// It could not be.
    Sealed,
}

impl Secrets {
    /// Keeps at most so many bytes of transcript.
    pub(super) fn new(most: usize) -> Self {
        Self {
            transcript: Vec::new(),
            most,
            schedule: Schedule::None,
            openers: Sides::default(),
            finished: Sides::default(),
            wrong: false,
            incomplete: false,
            keys: Vec::new(),
        }
    }

    /// Bytes are missing: from now on nothing can be proved.
    pub(super) fn gap(&mut self) {
        self.incomplete = true;
    }

    /// A handshake message, before anything else is made of it.
    pub(super) fn message(&mut self, from: Side, raw: &[u8], told: &Told) {
        let msg_type = HandshakeType(raw.first().copied().unwrap_or_default());
        if msg_type == HandshakeType::FINISHED {
            self.check_finished(from, raw, told);
        }
        let over = told.is_tls13() && self.finished.client;
        let aside = match msg_type {
            HandshakeType::HELLO_REQUEST | HandshakeType::KEY_UPDATE => true,
            HandshakeType::NEW_SESSION_TICKET => told.is_tls13(),
            _ => over && msg_type != HandshakeType::FINISHED,
        };
        if aside {
            return;
        }
        if self.transcript.len().saturating_add(raw.len()) > self.most {
            self.incomplete = true;
            return;
        }
        self.transcript.extend_from_slice(raw);
    }

    /// A HelloRetryRequest: the first hello is now in the transcript by its hash (RFC 8446 section 4.4.1).
    pub(super) fn retry(&mut self, told: &Told) {
        match told.suite.and_then(tls13_suite) {
            Some((hash, _)) => self.transcript = hash.message_hash(&self.transcript),
            None => self.incomplete = true,
        }
    }

    /// After a ServerHello of TLS 1.3: the handshake's keys.
    pub(super) fn agreed_tls13(&mut self, told: &Told, key_log: &KeyLog) {
        let Some(random) = told.account.client_random else { return };
        let secret = |label| key_log.secret(&random, label).map(Secret::duplicate);
        let (Some((hash, aead)), Some(client), Some(server)) = (
            told.suite.and_then(tls13_suite),
            secret(Label::ClientHandshakeTraffic),
            secret(Label::ServerHandshakeTraffic),
        ) else {
            return;
        };
        self.schedule = Schedule::Tls13 { hash, aead, client: client.duplicate(), server: server.duplicate() };
        self.rekey(Side::Responder, "handshake", &server);
        let early = secret(Label::ClientEarlyTraffic);
        match early.filter(|_| told.early_data != EarlyData::None) {
            Some(early) => self.rekey(Side::Initiator, "early", &early),
            None => self.rekey(Side::Initiator, "handshake", &client),
        }
    }

    /// The server would not take early data, or the client has no more of it.
    pub(super) fn end_of_early_data(&mut self) {
        if let Schedule::Tls13 { client, .. } = &self.schedule {
            let client = client.duplicate();
            self.rekey(Side::Initiator, "handshake", &client);
        }
    }

    /// A side's ChangeCipherSpec, up to TLS 1.2.
    pub(super) fn change_cipher_spec(&mut self, from: Side, told: &Told, key_log: &KeyLog) {
        if matches!(self.schedule, Schedule::None) {
            self.schedule = self.agree_tls12(told, key_log).unwrap_or(Schedule::None);
        }
        if let Schedule::Tls12 { suite, version, encrypt_then_mac, key_block, .. } = &self.schedule {
            let opener = RecordOpener::tls12(*version, *suite, key_block, keymat_side(from), *encrypt_then_mac);
            *self.openers.of(from) = Some(opener);
        }
    }

    fn agree_tls12(&mut self, told: &Told, key_log: &KeyLog) -> Option<Schedule> {
        let (client_random, server_random) = (told.account.client_random?, told.account.server_random?);
        let (version, suite) = (told.version?, Tls12Suite::new(told.version?, told.suite?)?);
        let master = key_log.secret(&client_random, Label::MasterSecret)?.duplicate();
        let block = suite.prf.key_block(&master, &server_random, &client_random, suite.key_block.total());
        let key_block = suite.key_block.split(&block)?;
        self.keys.push(("master_secret".to_owned(), master.duplicate()));
        for (name, key) in [
            ("client_write_MAC_key", &key_block.client_write_mac_key),
            ("server_write_MAC_key", &key_block.server_write_mac_key),
            ("client_write_key", &key_block.client_write_key),
            ("server_write_key", &key_block.server_write_key),
            ("client_write_IV", &key_block.client_write_iv),
            ("server_write_IV", &key_block.server_write_iv),
        ] {
            if !key.as_bytes().is_empty() {
                self.keys.push((name.to_owned(), key.duplicate()));
            }
        }
        Some(Schedule::Tls12 { suite, version, encrypt_then_mac: told.encrypt_then_mac, master, key_block })
    }

    /// Opens a protected record.
    pub(super) fn open(&mut self, from: Side, record: &Record<'_>, told: &Told) -> Content {
        let Some(opener) = self.openers.of(from) else { return Content::Sealed };
        match opener.open(record) {
            Ok(opened) => Content::Open(opened),
            // Early data that the server would not take, under keys that are not there.
            Err(OpenError::Integrity)
                if from == Side::Initiator && told.early_data == EarlyData::Offered && !self.finished.client =>
            {
                Content::Sealed
            }
            Err(_) => {
                self.wrong = true;
                Content::Sealed
            }
        }
    }

    /// The sender of this KeyUpdate goes on with new keys.
    pub(super) fn key_update(&mut self, from: Side) {
        let place = |name: &str| self.keys.iter().rev().find(|(known, _)| known == name);
        let name = format!("{}_traffic_secret", side_name(from));
        let Schedule::Tls13 { hash, .. } = &self.schedule else { return };
        let next = place(&name).and_then(|(_, secret)| hash.next_traffic_secret(secret));
        if let Some(next) = next {
            self.rekey(from, "", &next);
        }
    }

    /// After its Finished a side of TLS 1.3 has other keys.
    pub(super) fn application_keys(&mut self, from: Side, told: &Told, key_log: &KeyLog) {
        let label = match from {
            Side::Initiator => Label::ClientTraffic,
            Side::Responder => Label::ServerTraffic,
        };
        *self.openers.of(from) = None;
        let Some(random) = told.account.client_random else { return };
        if let Some(secret) = key_log.secret(&random, label).map(Secret::duplicate) {
            self.rekey(from, "", &secret);
        }
    }

    fn rekey(&mut self, from: Side, phase: &str, secret: &Secret) {
        let Schedule::Tls13 { hash, aead, .. } = self.schedule else { return };
        let Some(traffic) = hash.traffic_keys(secret, aead.key_length()) else {
            self.wrong = true;
            return;
        };
        let phase = if phase.is_empty() { String::new() } else { format!("{phase}_") };
        let prefix = format!("{}_{phase}", side_name(from));
        self.keys.push((format!("{prefix}traffic_secret"), secret.duplicate()));
        self.keys.push((format!("{prefix}write_key"), traffic.write_key.duplicate()));
        self.keys.push((format!("{prefix}write_iv"), traffic.write_iv.duplicate()));
        *self.openers.of(from) = Some(RecordOpener::tls13(aead, traffic));
    }

    fn check_finished(&mut self, from: Side, raw: &[u8], told: &Told) {
        let received = raw.get(Handshake::HEADER_LENGTH..).unwrap_or_default();
        if *self.finished.of(from) {
            return;
        }
        let computed = match &self.schedule {
            Schedule::None => return,
            Schedule::Tls12 { suite, master, .. } => {
                let hash = suite.prf.handshake_hash(&[&self.transcript]);
                Some(suite.prf.verify_data(master, keymat_side(from), &hash))
            }
            Schedule::Tls13 { hash, client, server, .. } => {
                let base = if from == Side::Initiator { client } else { server };
                hash.verify_data(base, &hash.hash().digest(&[&self.transcript]))
            }
        };
        let right = computed.is_some_and(|computed| computed == *received);
        *self.finished.of(from) = right;
        // A transcript that misses something proves nothing.
        self.wrong |= !right && !self.incomplete;
        self.incomplete |= told.account.client_random.is_none();
    }

    /// Both Finished were right.
    pub(super) fn is_proved(&self) -> bool {
        self.finished.client && self.finished.server
    }

    /// The end: what was found, and all keys.
    pub(super) fn tell(self, told: &mut Told) {
        told.account.verification = match (self.wrong, self.is_proved()) {
            (true, _) => Verification::Wrong,
            (false, true) => Verification::Verified,
            (false, false) => Verification::Unverifiable,
        };
        let keys = self.keys.iter().map(|(name, secret)| (name.clone(), hex::encode(secret.as_bytes())));
        told.account.keys = keys.collect();
    }
}

fn keymat_side(side: Side) -> keymat::Side {
    match side {
        Side::Initiator => keymat::Side::Client,
        Side::Responder => keymat::Side::Server,
    }
}

fn side_name(side: Side) -> &'static str {
    super::story::name(side)
}
