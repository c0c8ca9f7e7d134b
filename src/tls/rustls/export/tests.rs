use rustls::crypto::cipher::{AeadKey, Iv};

use super::*;

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
