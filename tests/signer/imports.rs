//! Which keys and chains can be brought, in which form.

use std::sync::Arc;

use keyferry::crypto::Secret;
use keyferry::signer::{Credential, CredentialId, Signer};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PKCS_RSA_SHA256, SanType,
};
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;

use super::world::{OWNER, credential, empty, key};

const RSA_KEY: &str = include_str!("../tls_engine/data/rsa-2048.pem");

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["meter-1.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The private key inside a PKCS#8 structure: what stands after its prefix of `skip` bytes.
fn unwrapped(pkcs8: &[u8], skip: usize) -> Vec<u8> {
    pkcs8[skip..].to_vec()
}

#[test]
fn pkcs8_pkcs1_and_sec1_are_read() {
    let (signer, _) = empty();
    let rsa = KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256).unwrap();
    let ec = key(&PKCS_ECDSA_P256_SHA256);
    let ed = key(&PKCS_ED25519);
    let rsa_der = Pem::iter_from_buffer(RSA_KEY.as_bytes()).next().unwrap().unwrap().contents;
    let pkcs1 = unwrapped(&rsa_der, 26);
    let sec1 = {
        let der = ec.serialized_der();
        let start = der.windows(4).position(|window| window == [2, 1, 1, 4]).unwrap() - 2;
        let length = usize::from(der[start + 1]) + 2;
        der[start..start + length].to_vec()
    };
    for (name, key, forms) in [
        ("rsa", &rsa, vec![rsa_der, pkcs1]),
        ("ec", &ec, vec![ec.serialized_der().to_vec(), sec1]),
        ("ed", &ed, vec![ed.serialized_der().to_vec()]),
    ] {
        let credential = credential(OWNER, name, key);
        for (form, der) in forms.iter().enumerate() {
            let inserted = signer.insert(OWNER, Arc::clone(&credential), &Secret::from_slice(der));
            assert_eq!(inserted, Ok(()), "{name}, form {form}");
        }
    }
    signer.open(OWNER).unwrap();
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (signer, _) = empty();
    let keys = [key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ED25519), key(&PKCS_ED25519)];
    for (of_certificate, own) in keys.iter().enumerate() {
        let credential = credential(OWNER, "a", own);
        for (given, key) in keys.iter().enumerate() {
            let private_key = Secret::from_slice(key.serialized_der());
            let fits = signer.insert(OWNER, Arc::clone(&credential), &private_key).is_ok();
            assert_eq!(fits, of_certificate == given);
        }
    }
    let error = credential(OWNER, "a", &keys[0]).check_private_key(&Secret::from_slice(b"nonsense")).unwrap_err();
    assert!(error.to_string().contains("not that of the certificate"), "{error}");
}

#[test]
fn a_certificate_of_the_same_name_is_replaced() {
    let (signer, _) = empty();
    let keys = [key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ECDSA_P256_SHA256)];
    for key in &keys {
        let credential = credential(OWNER, "a", key);
        signer.insert(OWNER, credential, &Secret::from_slice(key.serialized_der())).unwrap();
    }
    assert!(signer.remove(OWNER, "a"));
    assert!(signer.owners().is_empty());
}

#[test]
fn a_credential_tells_what_its_certificate_says() {
    let key = key(&PKCS_ECDSA_P256_SHA256);
    let mut params = named("meter-1");
    params.subject_alt_names.push(SanType::DnsName("*.plant.example".try_into().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress("10.7.1.10".parse().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress("fd07:1::10".parse().unwrap()));
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let credential = Credential::new("default", vec![certificate.der().to_vec()]).unwrap();
    assert_eq!(credential.names(), ["meter-1.example", "*.plant.example", "10.7.1.10", "fd07:1::10"]);
    assert_eq!(credential.not_after(), 1_893_456_000);
    assert_eq!(credential.id, CredentialId(Sha256::digest(certificate.der()).into()));
    assert_eq!(credential.id.to_string().len(), 64);
}

#[test]
fn chains_are_checked_for_their_order() {
    let ca = |name: &str| {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root = CertifiedIssuer::self_signed(ca("root"), key(&PKCS_ECDSA_P256_SHA256)).unwrap();
    let between = CertifiedIssuer::signed_by(ca("between"), key(&PKCS_ECDSA_P256_SHA256), &root).unwrap();
    let leaf = named("leaf").signed_by(&key(&PKCS_ECDSA_P256_SHA256), &between).unwrap();
    let [root, between, leaf] = [root.der(), between.der(), leaf.der()].map(|der| der.to_vec());
    let new = |chain: &[&Vec<u8>]| {
        let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
        Credential::new("a", chain).map_err(|error| error.to_string())
    };
    assert!(new(&[&leaf, &between, &root]).is_ok());
    assert!(new(&[&leaf]).is_ok());
    assert!(new(&[&leaf, &root]).unwrap_err().contains("certificate 2 of the chain is not that of the issuer"));
    assert!(new(&[&between, &leaf]).unwrap_err().contains("put the leaf first"));
    assert!(new(&[]).unwrap_err().contains("no certificate"));
    assert!(new(&[&leaf, &vec![1, 2, 3]]).unwrap_err().contains("certificate 2 of the chain cannot be read"));
    assert!(new(&[&root; 11]).unwrap_err().contains("longer than"));
    for bad in ["", "a b", "a/b", "\u{e9}", &"x".repeat(65)] {
        assert!(Credential::new(bad, vec![leaf.clone()]).is_err(), "{bad}");
    }
}
