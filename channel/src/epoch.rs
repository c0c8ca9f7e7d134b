//! Epochs: the channel key advances one way, so that what was handed over under an erased key stays closed.
//!
//! Whoever starts an epoch keeps the one before until the peer is heard under the new one: the peer may not have learned
//! of it. Whoever follows erases the old key at once. Contexts of the epoch before stay in memory for 45 s, the time in
//! which a retransmission can still arrive (MAX_TRANSMIT_SPAN at RFC 7252's timers); nothing older is ever kept.

use core::time::Duration;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::endpoint::{Endpoint, Settings};
use crate::event::{Event, Failure, Output, Refused};
use crate::oscore::{Context, ContextIds, minimal};
use crate::replay::ReplayWindow;
use crate::short::Short;
use crate::state::Previous;
use crate::{Instant, State};

/// The key of one epoch, 32 bytes. All else is derived from it; zeroized on drop.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ChannelKey([u8; 32]);

impl ChannelKey {
    /// From provisioning or storage.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For storage.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of the next epoch. There is no way back.
    pub fn next(&self) -> Self {
        Self(*self.expand(b"keyferry next"))
    }

    /// The OSCORE master secret of this epoch.
    pub(crate) fn master_secret(&self) -> Zeroizing<[u8; 32]> {
        self.expand(b"keyferry oscore")
    }

    fn expand(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        let expanded =
            Hkdf::<Sha256>::from_prk(&self.0).is_ok_and(|hkdf| hkdf.expand(label, out.as_mut_slice()).is_ok());
        debug_assert!(expanded, "a key of 32 bytes is long enough and so is an output of 32 short enough");
        out
    }
}

/// An epoch that messages can be protected under.
pub(crate) struct Epoch {
    pub number: u32,
    pub context: Context,
    pub window: ReplayWindow,
}

impl Epoch {
    pub fn derive(number: u32, key: &ChannelKey, settings: &Settings, window: ReplayWindow) -> Self {
        let ids = ContextIds {
            sender: settings.own.short(),
            recipient: settings.peer.short(),
            id_context: Short::new(minimal(number.into()).as_bytes()),
        };
        Self { number, context: Context::derive(key.master_secret().as_slice(), &[], ids), window }
    }
}

/// The epochs in memory.
pub(crate) struct Epochs {
    pub current: Epoch,
    pub previous: Option<Epoch>,
    /// When `previous` is dropped; `None` while the current epoch is unconfirmed.
    pub previous_until: Option<Instant>,
    /// When `current` began, as far as this process knows.
    since: Instant,
    /// Start another epoch at the next chance.
    pub wanted: bool,
}

impl Epochs {
    pub fn load(settings: &Settings, state: &State, now: Instant) -> Self {
        let derive = |number, key| Epoch::derive(number, key, settings, ReplayWindow::unknown());
        Self {
            current: derive(state.epoch, &state.key),
            previous: state.previous.as_ref().map(|previous| derive(previous.epoch, &previous.key)),
            previous_until: None,
            since: now,
            // How long hand-overs lay under this key before the restart is unknown: assume too long.
            wanted: state.handovers > 0,
        }
    }

    pub fn find(&mut self, number: u32) -> Option<&mut Epoch> {
        if self.current.number == number {
            return Some(&mut self.current);
        }
        self.previous.as_mut().filter(|previous| previous.number == number)
    }

    pub fn is_older_than(&self, lifetime: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= lifetime
    }

    pub fn release_ciphers(&mut self) {
        self.current.context.release_ciphers();
        if let Some(previous) = &mut self.previous {
            previous.context.release_ciphers();
        }
    }
}

/// Whether a request may go out now, as far as the epoch is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Wait,
    PeerSilent,
}

/// The epoch in a request's kid context: big-endian without leading zeros.
pub(crate) fn parse_epoch(kid_context: &[u8]) -> Option<u32> {
    let value = kid_context.iter().take(5).fold(0, |value, byte| value << 8 | u64::from(*byte));
    (minimal(value).as_bytes() == kid_context).then_some(value).and_then(|value| value.try_into().ok())
}

impl Endpoint {
    /// Advances the key if a new request calls for it and the present epoch permits it.
    pub(crate) fn prepare_epoch(&mut self, handover: bool) -> Readiness {
        let spent = handover && self.state.handovers >= self.settings.handovers_per_epoch.clamp(1, MOST_HANDOVERS);
        if !(spent || self.is_epoch_due(self.now)) {
            return Readiness::Ready;
        }
        if self.state.confirmed && !self.previous_is_in_use() && !self.is_transferring() {
            self.advance();
            return Readiness::Ready;
        }
        match (spent, self.state.confirmed || !self.outbound.is_empty()) {
            (false, _) => Readiness::Ready,
            (true, true) => Readiness::Wait,
            (true, false) => Readiness::PeerSilent,
        }
    }

    /// Counts a hand-over once under every epoch it is protected under, durably before it leaves.
    pub(crate) fn count_handover(&mut self) {
        self.state.handovers = self.state.handovers.saturating_add(1);
        self.persist();
    }

    /// We begin the next epoch.
    fn advance(&mut self) {
        // 2^32 epochs outlast any device; stay in the last rather than repeat one.
        let Some(number) = self.state.epoch.checked_add(1) else { return };
        let key = self.state.key.next();
        let epoch = Epoch::derive(number, &key, &self.settings, ReplayWindow::fresh());
        let old = core::mem::replace(&mut self.state.key, key);
        self.state.previous = Some(Previous { epoch: self.state.epoch, key: old });
        self.state.confirmed = false;
        self.enter(epoch, None);
    }

    /// The peer began `epoch`, proved by an authentic message under it.
    pub(crate) fn follow(&mut self, key: ChannelKey, epoch: Epoch) {
        self.state.key = key;
        self.state.previous = None;
        self.state.confirmed = true;
        let left = self.epochs.current.number;
        self.enter(epoch, Some(self.now + PREVIOUS_LINGER));
        self.resend_under(left);
    }

    fn enter(&mut self, epoch: Epoch, previous_until: Option<Instant>) {
        self.state.epoch = epoch.number;
        self.state.handovers = 0;
        let number = epoch.number;
        let left = core::mem::replace(&mut self.epochs.current, epoch);
        self.epochs.previous_until = previous_until;
        self.epochs.since = self.now;
        self.epochs.wanted = false;
        let dropped = self.epochs.previous.replace(left);
        self.persist();
        self.push(Output::Event(Event::Advanced { epoch: number }));
        if let Some(dropped) = dropped {
            self.abandon(dropped.number);
        }
    }

    /// An authentic message came under the current epoch: the peer has its key, so nobody needs the one before.
    pub(crate) fn confirm(&mut self) {
        if self.state.confirmed {
            return;
        }
        self.state.confirmed = true;
        self.state.previous = None;
        self.epochs.previous_until = Some(self.now + PREVIOUS_LINGER);
        self.persist();
    }

    /// Drops the previous epoch from memory when its time has come.
    pub(crate) fn expire_previous(&mut self) {
        if self.epochs.previous_until.is_some_and(|until| until <= self.now) {
            self.epochs.previous_until = None;
            if let Some(dropped) = self.epochs.previous.take() {
                self.abandon(dropped.number);
            }
        }
    }

    /// The key of later epoch `number`, if it is near enough.
    pub(crate) fn key_ahead(&self, number: u32) -> Result<ChannelKey, Refused> {
        let Some(steps) = number.checked_sub(self.state.epoch) else { return Err(Refused::EpochPassed) };
        if steps > AHEAD {
            return Err(Refused::EpochTooFar);
        }
        Ok((0..steps).fold(self.state.key.clone(), |key, _| key.next()))
    }

    /// Exchanges under an epoch that is gone cannot be completed.
    fn abandon(&mut self, number: u32) {
        self.fail_outbound(Failure::EpochPassed, |outbound| outbound.sent.epoch == number);
        self.given_up.retain(|sent| sent.epoch != number);
        self.inbound.retain(|inbound| inbound.reply.epoch != number);
        self.separate.retain(|separate| separate.epoch != number);
    }

    /// The peer drops that epoch when we start another: not while something of it is under way.
    fn previous_is_in_use(&self) -> bool {
        let Some(number) = self.epochs.previous.as_ref().map(|previous| previous.number) else { return false };
        self.outbound.iter().any(|outbound| outbound.sent.epoch == number)
            || self.inbound.iter().any(|inbound| inbound.reply.epoch == number)
            || self.separate.iter().any(|separate| separate.epoch == number)
    }
}

/// How far ahead the peer may be: further is a sign of an old copy of the state, and work for whoever sends junk.
const AHEAD: u32 = 8;
/// Two epochs of these are what a stolen state can open: 16 hand-overs.
const MOST_HANDOVERS: u8 = 8;
const PREVIOUS_LINGER: Duration = Duration::from_secs(45);
