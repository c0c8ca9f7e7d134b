//! Every case of NIST's files.

use keyferry::crypto::{Prf, Secret};
use keyferry::ike::v1::keymat::{Skeyids, skeyid_psk, skeyid_signatures};
use keyferry::ike::v2::keymat::{child_keymat, skeyseed, skeyseed_rekey};
use keyferry::tls::keymat::TlsPrf;

use super::fax::{Case, Fax, Section};

#[test]
fn ikev1_with_pre_shared_keys() {
    let names = ["CKY_I", "CKY_R", "Ni", "Nr", "g^xy", "pre-shared-key", "SKEYID", "SKEYID_d", "SKEYID_a", "SKEYID_e"];
    let fax = Fax::read("ikev1_psk");
    let count: usize = fax
        .sections
        .iter()
        .map(|section| {
            let prf = ike_prf(section);
            section.check(&names, |case| {
                check_sizes(section, case, &["Ni", "Nr", "g^xy", "pre-shared-key"]);
                check_ikev1(prf, case, skeyid_psk(prf, case.get("pre-shared-key"), case.get("Ni"), case.get("Nr")));
            })
        })
        .sum();
    assert_eq!(count, 1700);
}

#[test]
fn ikev1_with_signatures() {
    let names = ["CKY_I", "CKY_R", "Ni", "Nr", "g^xy", "SKEYID", "SKEYID_d", "SKEYID_a", "SKEYID_e"];
    let fax = Fax::read("ikev1_dsa");
    let count: usize = fax
        .sections
        .iter()
        .map(|section| {
            let prf = ike_prf(section);
            section.check(&names, |case| {
                check_sizes(section, case, &["Ni", "Nr", "g^xy"]);
                check_ikev1(prf, case, skeyid_signatures(prf, case.get("Ni"), case.get("Nr"), case.get("g^xy")));
            })
        })
        .sum();
    assert_eq!(count, 1700);
}

fn check_ikev1(prf: Prf, case: &Case, skeyid: Secret) {
    case.expect("SKEYID", &skeyid);
    let (cky_i, cky_r) = (case.get("CKY_I").try_into().unwrap(), case.get("CKY_R").try_into().unwrap());
    let keys = Skeyids::derive(prf, &skeyid, case.get("g^xy"), cky_i, cky_r);
    case.expect("SKEYID_d", &keys.skeyid_d);
    case.expect("SKEYID_a", &keys.skeyid_a);
    case.expect("SKEYID_e", &keys.skeyid_e);
}

#[test]
fn ikev2() {
    let names = [
        "Ni",
        "Nr",
        "g^ir",
        "g^ir (new)",
        "SPIi",
        "SPIr",
        "SKEYSEED",
        "DKM",
        "DKM(Child SA)",
        "DKM(Child SA D-H)",
        "SKEYSEED(Rekey)",
    ];
    let fax = Fax::read("ikev2");
    let count: usize = fax
        .sections
        .iter()
        .map(|section| {
            let prf = ike_prf(section);
            section.check(&names, |case| {
                check_sizes(section, case, &["Ni", "Nr", "g^ir", "DKM"]);
                check_ikev2(prf, case);
            })
        })
        .sum();
    assert_eq!(count, 900);
}

fn check_ikev2(prf: Prf, case: &Case) {
    let (ni, nr, g_ir_new) = (case.get("Ni"), case.get("Nr"), case.get("g^ir (new)"));
    let seed = skeyseed(prf, ni, nr, case.get("g^ir"));
    case.expect("SKEYSEED", &seed);
    let dkm = prf.plus(&seed, &[ni, nr, case.get("SPIi"), case.get("SPIr")], case.get("DKM").len()).unwrap();
    case.expect("DKM", &dkm);

    let sk_d = Secret::from_slice(&dkm.as_bytes()[..prf.output_length()]);
    let child = |g_ir| child_keymat(prf, &sk_d, g_ir, (ni, nr), &[], case.get("DKM(Child SA)").len()).unwrap();
    case.expect("DKM(Child SA)", &child(None));
    case.expect("DKM(Child SA D-H)", &child(Some(g_ir_new)));
    case.expect("SKEYSEED(Rekey)", &skeyseed_rekey(prf, &sk_d, g_ir_new, ni, nr, &[]));
}

#[test]
fn tls() {
    let names = [
        "pre_master_secret",
        "serverHello_random",
        "clientHello_random",
        "server_random",
        "client_random",
        "master_secret",
        "key_block",
    ];
    let fax = Fax::read("tls");
    let count: usize = fax
        .sections
        .iter()
        .map(|section| {
            let prf = tls_prf(section);
            section.check(&names, |case| {
                let (client_hello, server_hello) = (case.get("clientHello_random"), case.get("serverHello_random"));
                let master_secret = prf.master_secret(&case.secret("pre_master_secret"), client_hello, server_hello);
                case.expect("master_secret", &master_secret);
                // The file gives the key expansion randoms of its own.
                let (client, server) = (case.get("client_random"), case.get("server_random"));
                let length = case.get("key_block").len();
                case.expect("key_block", &prf.key_block(&master_secret, server, client, length));
            })
        })
        .sum();
    assert_eq!(count, 200);
}

/// The PRF of an IKE section, none of whose other parameters is unknown.
fn ike_prf(section: &Section) -> Prf {
    const SIZES: [&str; 7] = [
        "g^xy length",
        "g^ir length",
        "Ni length",
        "Nr length",
        "pre-shared-key length",
        "DKM length",
        "Child SA DKM length",
    ];
    let mut prf = None;
    for (name, value) in &section.parameters {
        match (name.as_str(), value) {
            ("SHA-1", None) => prf = Some(Prf::HmacSha1),
            ("SHA-256", None) => prf = Some(Prf::HmacSha2_256),
            ("SHA-384", None) => prf = Some(Prf::HmacSha2_384),
            ("SHA-512", None) => prf = Some(Prf::HmacSha2_512),
            (size, Some(_)) if SIZES.contains(&size) => {}
            other => panic!("section not understood: {other:?}"),
        }
    }
    prf.expect("a section names its hash")
}

fn tls_prf(section: &Section) -> TlsPrf {
    let mut prf = None;
    for (name, value) in &section.parameters {
        match (name.as_str(), value.as_deref()) {
            ("TLS 1.0/1.1", None) => prf = Some(TlsPrf::Md5Sha1),
            ("TLS 1.2, SHA-256", None) => prf = Some(TlsPrf::Sha256),
            ("pre-master secret length" | "key block length", Some(_)) => {}
            other => panic!("section not understood: {other:?}"),
        }
    }
    prf.expect("a section names its version")
}

/// The values are as many bits long as the section says.
fn check_sizes(section: &Section, case: &Case, names: &[&str]) {
    for name in names {
        let parameter = format!("{name} length");
        let (_, bits) = section.parameters.iter().find(|(name, _)| *name == parameter).expect("a length");
        assert_eq!(bits.as_deref(), Some((8 * case.get(name).len()).to_string().as_str()), "{parameter}");
    }
}
