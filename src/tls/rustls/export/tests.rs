use rustls::crypto::cipher::{AeadKey, Iv};

use super::*;

const SUITE: CipherSuite = CipherSuite::TLS_CHACHA20_POLY1305_SHA256;

/// What rustls would extract if the secrets were these, made by the derivation that RFC 8448 vouches for.
fn keys(suite: CipherSuite, secret: &Secret) -> ConnectionTrafficSecrets {
    let (key, iv) = (crypto::record_key(suite, secret).unwrap(), crypto::record_iv(suite, secret).unwrap());
    let key = AeadKey::from(<[u8; 32]>::try_from(key.as_bytes()).unwrap());
    let iv = Iv::from(<[u8; 12]>::try_from(iv.as_bytes()).unwrap());
    match suite {
        CipherSuite::TLS_AES_256_GCM_SHA384 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
    }
}

fn extracted(tx: &Secret, rx: &Secret) -> ExtractedSecrets {
    ExtractedSecrets { tx: (0, keys(SUITE, tx)), rx: (0, keys(SUITE, rx)) }
}

/// What is exported for these secrets and keys.
fn exported(suite: CipherSuite, tx: &Secret, rx: &Secret, keys: &ExtractedSecrets) -> Option<(Secret, Secret)> {
    traffic_secrets(suite, Some((tx.duplicate(), rx.duplicate())), keys)
}

#[test]
fn only_the_secrets_behind_the_keys_are_accepted() {
    let (tx, rx) = (Secret::from_slice(&[1; 32]), Secret::from_slice(&[2; 32]));
    let good = extracted(&tx, &rx);
    assert!(exported(SUITE, &tx, &rx, &good).is_some_and(|secrets| secrets == (tx.duplicate(), rx.duplicate())));
    assert!(exported(SUITE, &rx, &tx, &good).is_none(), "directions swapped");
    for position in 0..32 {
        let mut wrong = tx.duplicate();
        wrong.as_mut_bytes()[position] ^= 1;
        assert!(exported(SUITE, &wrong, &rx, &good).is_none(), "tx byte {position}");
        let mut wrong = rx.duplicate();
        wrong.as_mut_bytes()[position] ^= 1;
        assert!(exported(SUITE, &tx, &wrong, &good).is_none(), "rx byte {position}");
    }
    assert!(exported(SUITE, &tx, &Secret::from_slice(&[2; 48]), &good).is_none(), "length of another hash");
    assert!(traffic_secrets(SUITE, None, &good).is_none(), "no secret was logged");
}

#[test]
fn another_suite_or_a_record_already_sent_is_refused() {
    let (tx, rx) = (Secret::from_slice(&[1; 32]), Secret::from_slice(&[2; 32]));
    assert!(exported(CipherSuite::TLS_AES_128_GCM_SHA256, &tx, &rx, &extracted(&tx, &rx)).is_none());

    let mut used = extracted(&tx, &rx);
    used.tx.0 = 1;
    assert!(exported(SUITE, &tx, &rx, &used).is_none());
    let mut used = extracted(&tx, &rx);
    used.rx.0 = 1;
    assert!(exported(SUITE, &tx, &rx, &used).is_none());
}

#[test]
fn in_tls_1_2_key_and_iv_are_exported_after_one_record_in_each_direction() {
    let keys = |sequence| {
        let one = |fill: u8| ConnectionTrafficSecrets::Aes128Gcm {
            // rustls has one type for keys of all lengths, made from 32 bytes.
            key: AeadKey::from([fill; 32]),
            iv: Iv::from([fill; 12]),
        };
        ExtractedSecrets { tx: (sequence, one(1)), rx: (1, one(2)) }
    };
    let suite = CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    assert!(keys_and_ivs(suite, &keys(1)).is_none(), "a key of another length");
    assert!(keys_and_ivs(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, &keys(1)).is_none(), "another suite");

    let chacha20 = |sequence| {
        let one = |fill: u8| ConnectionTrafficSecrets::Chacha20Poly1305 {
            key: AeadKey::from([fill; 32]),
            iv: Iv::from([fill + 8; 12]),
        };
        ExtractedSecrets { tx: (sequence, one(1)), rx: (1, one(2)) }
    };
    let suite = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let (tx, rx) = keys_and_ivs(suite, &chacha20(1)).unwrap();
    assert_eq!(tx.as_bytes(), [&[1; 32][..], &[9; 12]].concat());
    assert_eq!(rx.as_bytes(), [&[2; 32][..], &[10; 12]].concat());
    for sequence in [0, 2] {
        assert!(keys_and_ivs(suite, &chacha20(sequence)).is_none(), "record {sequence}");
    }
}
