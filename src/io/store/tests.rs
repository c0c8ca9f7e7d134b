use std::sync::Arc;

use keyferry_channel::Previous;

use super::enrol::{Enrolled, NewTerminal, NotEnrolled, enrol};
use super::*;
use crate::io::slots::SlotKey;
use disk::{Disk, Fate, On};

mod credentials;
mod disk;

const STORE_KEY: [u8; 32] = [9; 32];

fn open(disk: &Arc<Disk>) -> Result<Store, Error> {
    Store::on(Box::new(On(Arc::clone(disk))), StoreKey::from_bytes(STORE_KEY))
}

fn named(id: &str) -> NewTerminal {
    NewTerminal { id: id.into(), ..NewTerminal::default() }
}

fn id(text: &str) -> TerminalId {
    TerminalId::try_from(text).unwrap()
}

/// The state after an advance that the peer has not confirmed, or has.
fn advanced(state: &State, confirmed: bool) -> State {
    let previous = Previous { epoch: state.epoch, key: state.key.clone() };
    State {
        epoch: state.epoch + 1,
        key: state.key.next(),
        confirmed,
        previous: (!confirmed).then_some(previous),
        reserved: state.reserved + 256,
        handovers: 0,
    }
}

fn put(kid: Id, state: &State) -> Change {
    Change::PutChannel { kid, state: state.encode() }
}

fn stored(store: &mut Store, kid: Id) -> State {
    store.channel(kid).unwrap().unwrap()
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let first = enrol(&mut store, &NewTerminal { group: Some("sensors".into()), ..named("meter-1") }, 5).unwrap();
    let second = enrol(&mut store, &named("meter-2"), 6).unwrap();
    assert_eq!((first.record.kid.as_bytes(), second.record.kid.as_bytes()), ([1, 0].as_slice(), [1, 1].as_slice()));
    assert!(first.key.as_bytes() != second.key.as_bytes());
    drop(store);

    let mut store = open(&disk).unwrap();
    assert_eq!(store.terminals().unwrap(), [first.record.clone(), second.record]);
    assert_eq!(store.terminal(&id("meter-1")).unwrap(), Some(first.record.clone()));
    assert!(stored(&mut store, first.record.kid).key.as_bytes() == first.key.as_bytes());
    assert_eq!(store.terminal(&id("meter-3")).unwrap(), None);
    assert_eq!(enrol(&mut store, &named("meter-3"), 7).unwrap().record.kid.as_bytes(), [1, 2]);
}

#[test]
fn kids_grow_from_two_bytes_to_three_and_never_return() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    store.opened().unwrap().0.next_kid = 0xffff;
    assert_eq!(store.next_kid().unwrap().as_bytes(), [0xff, 0xff]);
    let last = enrol(&mut store, &named("meter-1"), 1).unwrap().record;
    assert_eq!(last.kid.as_bytes(), [1, 0, 0]);
    store.commit(vec![Change::Revoke { id: last.id, at: 2 }]).unwrap();
    drop(store);
    assert_eq!(open(&disk).unwrap().next_kid().unwrap().as_bytes(), [1, 0, 1]);
}

#[test]
fn a_revoked_terminal_stays_revoked() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let Enrolled { record, .. } = enrol(&mut store, &named("meter-1"), 1).unwrap();
    let late = stored(&mut store, record.kid);
    store.commit(vec![Change::Revoke { id: record.id.clone(), at: 9 }]).unwrap();
    store.commit(vec![put(record.kid, &late), Change::Revoke { id: record.id.clone(), at: 10 }]).unwrap();
    drop(store);

    let mut store = open(&disk).unwrap();
    assert!(store.channel(record.kid).unwrap().is_none());
    assert_eq!(store.terminal(&record.id).unwrap().unwrap().revoked, Some(9));
    assert_eq!(store.revocations().unwrap(), 1);
    assert!(disk.slot_keys().is_empty());

    assert!(
        matches!(enrol(&mut store, &named("meter-1"), 11), Err(NotEnrolled::Refused(why)) if why.contains("--again"))
    );
    let again = enrol(&mut store, &NewTerminal { again: true, ..named("meter-1") }, 12).unwrap();
    assert_ne!(again.record.kid, record.kid);
    assert_eq!(store.terminal(&record.id).unwrap().unwrap().revoked, None);
}

#[test]
fn in_one_commit_the_last_state_counts_and_a_revocation_ends_it() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let [one, two] = ["meter-1", "meter-2"].map(|name| enrol(&mut store, &named(name), 1).unwrap().record);
    let start = stored(&mut store, one.kid);
    let (next, last) = (advanced(&start, false), advanced(&advanced(&start, false), true));
    store
        .commit(vec![
            put(one.kid, &next),
            put(two.kid, &next),
            Change::Revoke { id: two.id.clone(), at: 2 },
            put(two.kid, &last),
            put(one.kid, &last),
        ])
        .unwrap();
    assert_eq!(stored(&mut store, one.kid).epoch, 2);
    assert!(store.channel(two.kid).unwrap().is_none());
    assert_eq!(disk.slot_keys().len(), 1);
}

#[test]
fn conflicts_with_live_terminals_are_refused() {
    let mut store = open(&Disk::new()).unwrap();
    let address = "10.7.1.10".parse().unwrap();
    let mac = Some("02:00:00:00:00:01".to_owned());
    let first = NewTerminal { addresses: vec![address], mac: mac.clone(), ..named("meter-1") };
    enrol(&mut store, &first, 1).unwrap();
    let mut refused = |request: NewTerminal| match enrol(&mut store, &request, 2) {
        Err(NotEnrolled::Refused(why)) => why,
        _ => panic!("{request:?} was not refused"),
    };
    assert!(refused(named("meter-1")).contains("there is a terminal meter-1"));
    assert!(refused(NewTerminal { addresses: vec![address], ..named("meter-2") }).contains("--shared-address"));
    assert!(refused(NewTerminal { mac, ..named("meter-2") }).contains("Ethernet address"));
    let shared = NewTerminal { addresses: vec![address], shared_address: true, ..named("meter-2") };
    assert!(refused(shared).contains("--shared-address"), "the other one does not share");
    assert!(refused(named("two words")).contains("1 to 64"));
    assert!(refused(NewTerminal { addresses: vec!["127.0.0.1".parse().unwrap()], ..named("m") }).contains("127.0.0.1"));
    assert!(refused(NewTerminal { mac: Some("nonsense".into()), ..named("m") }).contains("nonsense"));
    assert!(refused(NewTerminal { interface: Some("a/b".into()), ..named("m") }).contains("a/b"));
    assert!(refused(NewTerminal { group: Some("a b".into()), ..named("m") }).contains("group"));

    store.commit(vec![Change::Revoke { id: id("meter-1"), at: 3 }]).unwrap();
    let shared = |name| NewTerminal { addresses: vec![address], shared_address: true, ..named(name) };
    enrol(&mut store, &shared("meter-2"), 4).unwrap();
    enrol(&mut store, &shared("meter-3"), 4).unwrap();
}

/// A reservation of sequence numbers forgets nothing, so it costs one sync less; an advance does.
#[test]
fn only_what_replaces_a_key_gets_a_fresh_slot_key() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let kid = enrol(&mut store, &named("meter-1"), 1).unwrap().record.kid;
    let mut state = stored(&mut store, kid);
    let before = disk.slot_keys();
    state.reserved += 256;
    store.commit(vec![put(kid, &state)]).unwrap();
    assert_eq!(disk.slot_keys(), before);
    assert_eq!(stored(&mut store, kid).reserved, state.reserved);

    let unconfirmed = advanced(&state, false);
    store.commit(vec![put(kid, &unconfirmed)]).unwrap();
    let after_advance = disk.slot_keys();
    assert_ne!(after_advance, before);
    let confirmed = State { confirmed: true, previous: None, ..unconfirmed };
    store.commit(vec![put(kid, &confirmed)]).unwrap();
    assert_ne!(disk.slot_keys(), after_advance);
    assert_eq!(disk.slot_keys().len(), 1);
}

/// Whoever has both files and the key file today cannot open any state of before the last advance.
#[test]
fn replaced_states_cannot_be_unsealed_by_whoever_has_everything() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let kid = enrol(&mut store, &named("meter-1"), 1).unwrap().record.kid;
    let (mut sealed, mut slot_keys, mut channel_keys) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..24 {
        let state = stored(&mut store, kid);
        sealed.push(raw_channel(&mut store, kid));
        slot_keys.extend(disk.slot_keys());
        channel_keys.push(state.key.as_bytes().to_vec());
        store.commit(vec![put(kid, &advanced(&state, round % 2 == 0))]).unwrap();
    }
    let current = raw_channel(&mut store, kid);
    drop(store);
    let (database, slots) = disk.files();
    assert!(sealed.iter().any(|old| contains(&database, old)), "old pages remain, which is why slots are needed");

    let key = StoreKey::from_bytes(STORE_KEY);
    let opens = |stored: &[u8]| {
        let (_, clear, sealed) = Head::split(stored).unwrap();
        let place = Place { table: "channels", key: kid.as_bytes(), clear };
        let candidates = slots.windows(32).chain(database.chunks_exact(32)).chain([STORE_KEY.as_slice()]);
        candidates.into_iter().any(|candidate| {
            let candidate = SlotKey::new(candidate.try_into().unwrap());
            key.unseal_erasable(&candidate, place, sealed).is_ok()
        })
    };
    assert!(opens(&current), "the attack works on the present state");
    assert!(sealed.iter().all(|old| !opens(old)));
    for secret in slot_keys.iter().chain(&channel_keys) {
        assert!(!contains(&database, secret) && !contains(&slots, secret));
    }
}

fn raw_channel(store: &mut Store, kid: Id) -> Vec<u8> {
    let transaction = store.opened().unwrap().0.database.begin_read().unwrap();
    transaction.open_table(CHANNELS).unwrap().get(kid.as_bytes()).unwrap().unwrap().value().to_vec()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// What a store must hold whole or not at all.
enum Found {
    Old,
    New,
    /// Neither; what there is instead.
    Mixed(String),
}

/// Commits `changes`, and the power fails at every single operation on either file; each time the unsynced writes are
/// kept, lost, or kept in part. What was acknowledged is there, what was not is there whole or not at all, and what was
/// replaced is erased: `slot_keys` is how many there are of the old state and of the new.
fn fail_at_every_step(
    prepared: &Disk,
    slot_keys: [usize; 2],
    changes: impl Fn() -> Vec<Change>,
    look: impl Fn(&mut Store) -> Found,
) {
    let [of_old, of_new] = slot_keys;
    let (mut failures, mut olds, mut news) = (0, 0, 0);
    for step in 0.. {
        let mut completed = true;
        for fate in [Fate::Lost, Fate::Kept, Fate::Some(1), Fate::Some(2), Fate::Some(3)] {
            let disk = prepared.copy();
            let mut store = open(&disk).unwrap();
            disk.fail_after(step);
            let committed = store.commit(changes()).is_ok();
            drop(store);
            disk.power_cycle(fate);
            if committed {
                assert_eq!(disk.slot_keys().len(), of_new, "step {step}, {fate:?}: acknowledged before it was erased");
            }

            let mut store = open(&disk).unwrap_or_else(|error| panic!("step {step}, {fate:?}: {error}"));
            let is_new = match look(&mut store) {
                Found::Old => false,
                Found::New => true,
                Found::Mixed(what) => panic!("step {step}, {fate:?}: {what}"),
            };
            assert!(is_new || !committed, "step {step}, {fate:?}: acknowledged, and lost");
            assert_eq!(disk.slot_keys().len(), if is_new { of_new } else { of_old }, "step {step}, {fate:?}");
            store.commit(changes()).unwrap();
            assert!(matches!(look(&mut store), Found::New), "step {step}, {fate:?}: not to be done over");
            olds += usize::from(!is_new);
            news += usize::from(is_new);
            failures += usize::from(!committed);
            completed &= committed;
        }
        if completed {
            break;
        }
    }
    assert!(failures >= 20 && olds >= 10 && news >= 10, "{failures} failures, {olds} old, {news} new");
}

#[test]
fn a_power_failure_at_any_step_leaves_the_old_or_the_new_state() {
    let prepared = Disk::new();
    let mut store = open(&prepared).unwrap();
    let records = ["meter-1", "meter-2", "meter-3"].map(|name| enrol(&mut store, &named(name), 1).unwrap().record);
    let [one, two, three] = &records;
    let (before_one, before_two) = (stored(&mut store, one.kid), stored(&mut store, two.kid));
    let (after_one, after_two) = (advanced(&before_one, true), advanced(&before_two, false));
    drop(store);
    let changes = || {
        let revoke = Change::Revoke { id: three.id.clone(), at: 2 };
        vec![put(one.kid, &after_one), put(two.kid, &after_two), revoke]
    };
    fail_at_every_step(&prepared, [3, 2], changes, |store| {
        let epochs = [one, two].map(|record| stored(store, record.kid).epoch);
        let revoked = store.terminal(&three.id).unwrap().unwrap().revoked.is_some();
        match (epochs, revoked, store.channel(three.kid).unwrap()) {
            ([0, 0], false, Some(_)) => Found::Old,
            ([1, 1], true, None) => Found::New,
            _ => Found::Mixed(format!("{epochs:?}, revoked {revoked}")),
        }
    });
}

/// At the very first start and the first terminal: nothing acknowledged is lost, and the next start works.
#[test]
fn a_power_failure_while_the_store_is_made_can_be_started_over() {
    for step in 0..200 {
        for fate in [Fate::Lost, Fate::Kept, Fate::Some(step as u64)] {
            let disk = Disk::new();
            disk.fail_after(step);
            let made = open(&disk).and_then(|mut store| match enrol(&mut store, &named("meter-1"), 1) {
                Ok(enrolled) => Ok(enrolled),
                Err(_) => Err(unavailable("refused")),
            });
            disk.power_cycle(fate);
            let mut store = match open(&disk) {
                Ok(store) => store,
                // redb's own first pages; nothing was promised yet.
                Err(error) => {
                    assert!(made.is_err(), "step {step}, {fate:?}: {error}");
                    continue;
                }
            };
            let found = store.terminals().unwrap();
            match made {
                Ok(enrolled) => assert_eq!(found, [enrolled.record]),
                Err(_) => assert!(found.len() <= 1),
            }
            for record in found {
                assert!(store.channel(record.kid).unwrap().is_some());
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_new_terminals_and_is_used_again_when_there_is_room() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let kid = enrol(&mut store, &named("meter-0"), 1).unwrap().record.kid;
    disk.limit_to_present_size();
    let mut refused = None;
    for number in 1..20_000 {
        match enrol(&mut store, &NewTerminal { group: Some("g".repeat(64)), ..named(&format!("meter-{number}")) }, 1) {
            Ok(_) => {}
            Err(error) => {
                refused = Some((number, error));
                break;
            }
        }
    }
    let (number, error) = refused.unwrap();
    let NotEnrolled::Store(error) = error else { panic!("{error}") };
    assert_eq!(error.reason, Reason::STORE_UNAVAILABLE);

    disk.lift_limits();
    let records = store.terminals().unwrap();
    assert_eq!(records.len(), number, "the refused one is not there by half");
    for record in &records {
        assert!(store.channel(record.kid).unwrap().is_some());
    }
    enrol(&mut store, &named("later"), 2).unwrap();
    let state = stored(&mut store, kid);
    store.commit(vec![put(kid, &advanced(&state, true))]).unwrap();
}

#[test]
fn altered_records_are_noticed() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let [one, two] = ["meter-1", "meter-2"].map(|name| enrol(&mut store, &named(name), 1).unwrap().record);
    let (of_one, of_two) = (raw_channel(&mut store, one.kid), raw_channel(&mut store, two.kid));
    let transaction = store.opened().unwrap().0.database.begin_write().unwrap();
    transaction.open_table(CHANNELS).unwrap().insert(one.kid.as_bytes(), of_two.as_slice()).unwrap();
    transaction.commit().unwrap();
    assert!(store.channel(one.kid).is_err(), "another terminal's state");
    assert!(store.channel(two.kid).is_ok());
    let mut altered = of_one.clone();
    altered[5] ^= 1;
    let transaction = store.opened().unwrap().0.database.begin_write().unwrap();
    transaction.open_table(CHANNELS).unwrap().insert(one.kid.as_bytes(), altered.as_slice()).unwrap();
    transaction.commit().unwrap();
    assert!(store.channel(one.kid).is_err(), "another epoch in the head");
}

#[test]
fn another_key_file_is_named_as_the_cause() {
    let disk = Disk::new();
    drop(open(&disk).unwrap());
    let error = Store::on(Box::new(On(Arc::clone(&disk))), StoreKey::from_bytes([1; 32])).err().unwrap();
    assert!(error.detail.contains("key file is not the one"), "{error}");
}
