use rustls::crypto::cipher::{AeadKey, Iv};

use super::*;

const SUITE: CipherSuite = CipherSuite::TLS_CHACHA20_POLY1305_SHA256;

/// What rustls would extract if the secrets were these, made by the derivation that RFC 8448 vouches for.
fn keys(suite: CipherSuite, secret: &Secret) -> ConnectionTrafficSecrets {
    let derived = crypto::record_key(suite, secret).unwrap();
    let key = AeadKey::from(<[u8; 32]>::try_from(derived.key.as_bytes()).unwrap());
    let iv = Iv::from(<[u8; 12]>::try_from(derived.iv.as_bytes()).unwrap());
    match suite {
        CipherSuite::TLS_AES_256_GCM_SHA384 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
    }
}

fn extracted(tx: &Secret, rx: &Secret) -> ExtractedSecrets {
    ExtractedSecrets { tx: (0, keys(SUITE, tx)), rx: (0, keys(SUITE, rx)) }
}

#[test]
fn only_the_secrets_behind_the_keys_are_accepted() {
    let (tx, rx) = (Secret::from_slice(&[1; 32]), Secret::from_slice(&[2; 32]));
    let good = extracted(&tx, &rx);
    assert!(agree(SUITE, &(&tx, &rx), &good));
    assert!(!agree(SUITE, &(&rx, &tx), &good), "directions swapped");
    for position in 0..32 {
        let mut wrong = tx.duplicate();
        wrong.as_mut_bytes()[position] ^= 1;
        assert!(!agree(SUITE, &(&wrong, &rx), &good), "tx byte {position}");
        let mut wrong = rx.duplicate();
        wrong.as_mut_bytes()[position] ^= 1;
        assert!(!agree(SUITE, &(&tx, &wrong), &good), "rx byte {position}");
    }
    assert!(!agree(SUITE, &(&tx, &Secret::from_slice(&[2; 48])), &good), "length of another hash");
}

#[test]
fn another_suite_or_a_record_already_sent_is_refused() {
    let (tx, rx) = (Secret::from_slice(&[1; 32]), Secret::from_slice(&[2; 32]));
    assert!(!agree(CipherSuite::TLS_AES_128_GCM_SHA256, &(&tx, &rx), &extracted(&tx, &rx)));

    let mut used = extracted(&tx, &rx);
    used.tx.0 = 1;
    assert!(!agree(SUITE, &(&tx, &rx), &used));
    let mut used = extracted(&tx, &rx);
    used.rx.0 = 1;
    assert!(!agree(SUITE, &(&tx, &rx), &used));
}

#[test]
fn a_right_key_with_a_wrong_iv_is_refused() {
    let (tx, rx) = (Secret::from_slice(&[1; 32]), Secret::from_slice(&[2; 32]));
    let mut mixed = extracted(&tx, &rx);
    let ConnectionTrafficSecrets::Chacha20Poly1305 { iv, .. } = &mut mixed.rx.1 else { unreachable!() };
    *iv = Iv::from([0; 12]);
    assert!(!agree(SUITE, &(&tx, &rx), &mixed));
}

#[test]
fn the_first_secret_of_a_label_stays_and_other_labels_are_left_alone() {
    let capture = Capture::default();
    assert!(capture.traffic_secrets().is_none());
    assert!(!rustls::KeyLog::will_log(&capture, "EXPORTER_SECRET"));
    rustls::KeyLog::log(&capture, "CLIENT_TRAFFIC_SECRET_0", &[0; 32], &[1; 32]);
    rustls::KeyLog::log(&capture, "SERVER_HANDSHAKE_TRAFFIC_SECRET", &[0; 32], &[9; 32]);
    assert!(capture.traffic_secrets().is_none());
    rustls::KeyLog::log(&capture, "SERVER_TRAFFIC_SECRET_0", &[0; 32], &[2; 32]);
    rustls::KeyLog::log(&capture, "SERVER_TRAFFIC_SECRET_0", &[0; 32], &[3; 32]);
    let (tx, rx) = capture.traffic_secrets().unwrap();
    assert_eq!((tx.as_bytes(), rx.as_bytes()), (&[1; 32][..], &[2; 32][..]));
}
