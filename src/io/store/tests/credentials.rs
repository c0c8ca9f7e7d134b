use super::*;
use crate::crypto::Secret;
use crate::signer::Credential;

/// A certificate of its own, with its private key.
pub(super) fn credential(owner: &str, name: &str) -> StoredCredential {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([format!("{owner}.example")]).unwrap().self_signed(&key).unwrap();
    StoredCredential {
        owner: id(owner),
        credential: Arc::new(Credential::new(name, vec![certificate.der().to_vec()]).unwrap()),
        private_key: Some(Secret::from_slice(key.serialized_der())),
    }
}

fn duplicate(stored: &StoredCredential) -> StoredCredential {
    StoredCredential {
        owner: stored.owner.clone(),
        credential: Arc::clone(&stored.credential),
        private_key: stored.private_key.as_ref().map(Secret::duplicate),
    }
}

fn same(found: &[StoredCredential], wanted: &[&StoredCredential]) -> bool {
    let is_same = |(found, wanted): (&StoredCredential, &&StoredCredential)| {
        found.owner == wanted.owner && found.credential == wanted.credential && found.private_key == wanted.private_key
    };
    found.len() == wanted.len() && found.iter().zip(wanted).all(is_same)
}

fn remove(owner: &str, name: Option<&str>) -> Change {
    Change::RemoveCredential { owner: id(owner), name: name.map(str::to_owned) }
}

#[test]
fn they_are_there_after_reopening_with_and_without_a_private_key() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let [b, a] = [credential("meter-1", "b"), credential("meter-1", "a")];
    // An owner whose id begins like another's.
    let other = credential("meter-10", "a");
    let public = StoredCredential { private_key: None, ..credential("meter-2", "a") };
    let changes = [&b, &a, &other, &public].map(|stored| Change::PutCredential(duplicate(stored)));
    store.commit(changes.into()).unwrap();
    drop(store);

    let mut store = open(&disk).unwrap();
    assert!(same(&store.credentials().unwrap(), &[&a, &b, &other, &public]));
    assert!(same(&store.credentials_of(&id("meter-1")).unwrap(), &[&a, &b]));
    assert!(same(&store.credentials_of(&id("meter-10")).unwrap(), &[&other]));
    assert!(store.credentials_of(&id("meter")).unwrap().is_empty());
}

#[test]
fn one_of_the_same_name_is_replaced_and_a_removed_one_stays_away() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let [first, second] = [credential("meter-1", "a"), credential("meter-1", "a")];
    store.commit(vec![Change::PutCredential(first)]).unwrap();
    store.commit(vec![Change::PutCredential(duplicate(&second))]).unwrap();
    assert!(same(&store.credentials().unwrap(), &[&second]));
    assert_eq!(disk.slot_keys().len(), 1);
    store.commit(vec![remove("meter-1", Some("b")), remove("meter-2", None)]).unwrap();
    assert!(same(&store.credentials().unwrap(), &[&second]));
    store.commit(vec![remove("meter-1", Some("a"))]).unwrap();
    drop(store);
    assert!(open(&disk).unwrap().credentials().unwrap().is_empty());
    assert!(disk.slot_keys().is_empty());
}

#[test]
fn a_revocation_takes_the_terminals_certificates_and_no_others() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    enrol(&mut store, &named("meter-1"), 1).unwrap();
    let other = credential("meter-2", "a");
    let changes = vec![
        Change::PutCredential(credential("meter-1", "a")),
        Change::PutCredential(credential("meter-1", "b")),
        Change::PutCredential(duplicate(&other)),
    ];
    store.commit(changes).unwrap();
    let late = Change::PutCredential(credential("meter-1", "c"));
    store.commit(vec![late, Change::Revoke { id: id("meter-1"), at: 2 }]).unwrap();
    assert!(same(&store.credentials().unwrap(), &[&other]));
    assert_eq!(disk.slot_keys().len(), 1);
}

/// Whoever has both files and the key file afterwards cannot open the removed record, which an older copy of the
/// database shows.
#[test]
fn removed_private_keys_cannot_be_unsealed_by_whoever_has_everything() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    let [gone, kept] = [credential("meter-1", "a"), credential("meter-2", "a")];
    store.commit(vec![Change::PutCredential(duplicate(&gone)), Change::PutCredential(duplicate(&kept))]).unwrap();
    let records = ["meter-1/a", "meter-2/a"].map(|record| raw(&mut store, record));
    store.commit(vec![remove("meter-1", None)]).unwrap();
    drop(store);

    let (database, slots) = disk.files();
    let key = StoreKey::from_bytes(STORE_KEY);
    let opens = |record: &str, stored: &[u8]| {
        let (clear, sealed) = stored.split_at(5);
        let place = Place { table: "credentials", key: record.as_bytes(), clear };
        slots.windows(32).chain(database.chunks_exact(32)).chain([STORE_KEY.as_slice()]).any(|candidate| {
            let candidate = SlotKey::new(candidate.try_into().unwrap());
            key.unseal_erasable(&candidate, place, sealed).is_ok()
        })
    };
    assert!(opens("meter-2/a", &records[1]), "the attack works on the present record");
    assert!(!opens("meter-1/a", &records[0]));
    for stored in [&gone, &kept] {
        let private_key = stored.private_key.as_ref().unwrap().as_bytes();
        // Any 16 bytes of it would be too many.
        for piece in private_key.chunks_exact(16) {
            assert!(!contains(&database, piece) && !contains(&slots, piece));
        }
    }
}

#[test]
fn a_record_moved_to_another_terminal_is_noticed() {
    let disk = Disk::new();
    let mut store = open(&disk).unwrap();
    store.commit(vec![Change::PutCredential(credential("meter-1", "a"))]).unwrap();
    let moved = raw(&mut store, "meter-1/a");
    let transaction = store.opened().unwrap().0.database.begin_write().unwrap();
    transaction.open_table(CREDENTIALS).unwrap().remove("meter-1/a").unwrap();
    transaction.open_table(CREDENTIALS).unwrap().insert("meter-2/a", moved.as_slice()).unwrap();
    transaction.commit().unwrap();
    let error = store.credentials().err().unwrap();
    assert!(error.detail.contains("meter-2/a is damaged or was altered"), "{error}");
}

#[test]
fn a_power_failure_at_any_step_leaves_the_old_or_the_new_certificates() {
    let prepared = Disk::new();
    let mut store = open(&prepared).unwrap();
    enrol(&mut store, &named("meter-3"), 1).unwrap();
    let [one, two, three] = ["meter-1", "meter-2", "meter-3"].map(|owner| credential(owner, "a"));
    let renewed = credential("meter-1", "a");
    store.commit([&one, &two, &three].map(|stored| Change::PutCredential(duplicate(stored))).into()).unwrap();
    drop(store);
    let changes = || {
        let revoke = Change::Revoke { id: id("meter-3"), at: 2 };
        vec![Change::PutCredential(duplicate(&renewed)), remove("meter-2", Some("a")), revoke]
    };
    // Three certificates and the channel of meter-3, or the renewed one alone.
    fail_at_every_step(&prepared, [4, 1], changes, |store| {
        let found = store.credentials().unwrap();
        if same(&found, &[&one, &two, &three]) {
            Found::Old
        } else if same(&found, &[&renewed]) {
            Found::New
        } else {
            Found::Mixed(format!("{} certificates", found.len()))
        }
    });
}

fn raw(store: &mut Store, record: &str) -> Vec<u8> {
    let transaction = store.opened().unwrap().0.database.begin_read().unwrap();
    transaction.open_table(CREDENTIALS).unwrap().get(record).unwrap().unwrap().value().to_vec()
}
