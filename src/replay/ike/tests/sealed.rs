//! Messages of IKEv2 that no capture has: they are sealed here with the keys of one.

use keyferry_parsers::ike::v2::{
    Encr, Encrypted, EncryptedFragment, Integ, KeyExchange, Payload, Prf as PrfId, Proposal, ProtocolId,
    SecurityAssociation, Transform, first,
};
use keyferry_parsers::ike::{Group, Version};

use super::*;
use crate::crypto::{AesKey, Cipher, Integrity, Prf, Secret};
use crate::ike::v2::keymat::{SkKeys, skeyseed_rekey};
use crate::ike::v2::protect::Protection;

const NAME: &str = "ikev2-psk-cookie";
const PROTECTION: Protection = Protection::EncryptThenMac(Cipher::AesCbc(AesKey::Bits128), Integrity::HmacSha2_256_128);

fn header(spis: Spis, exchange_type: ExchangeType, flags: Flags, message_id: u32) -> Header {
    let (initiator_spi, responder_spi) = spis;
    Header { initiator_spi, responder_spi, version: Version::V2, exchange_type, flags, message_id }
}

/// A message with these payloads, encrypted; as fragment number so and so if that is said.
fn sealed(
    header: Header,
    (sk_e, sk_a): (&Secret, &Secret),
    fragment: Option<(u16, u16)>,
    plain: &[u8],
    first: PayloadType,
) -> Vec<u8> {
    let data = vec![0; PROTECTION.sealed_length(plain.len()).unwrap()];
    let body = match fragment {
        None => Body::Encrypted(Encrypted { first, data: &data }),
        Some((fragment_number, total_fragments)) => {
            Body::EncryptedFragment(EncryptedFragment { first, fragment_number, total_fragments, data: &data })
        }
    };
    let mut message = Vec::new();
    Message { header, payloads: vec![body.into()] }.emit(&mut message).unwrap();
    message.truncate(message.len() - data.len());
    let sealed = PROTECTION.seal(sk_e, sk_a, &message, &[9; 16], plain).unwrap();
    message.extend_from_slice(&sealed);
    message
}

fn rekey<'a>(spi: &'a [u8], nonce: &'a [u8]) -> Vec<Payload<'a>> {
    let transforms: Vec<Transform<'_>> = vec![
        Transform::from(Encr::AES_CBC).with_key_length(128),
        PrfId::HMAC_SHA2_256.into(),
        Integ::HMAC_SHA2_256_128.into(),
        Group::CURVE25519.into(),
    ];
    let proposals = vec![Proposal::new(1, ProtocolId::IKE, spi, transforms)];
    vec![
        Body::SecurityAssociation(SecurityAssociation { proposals }).into(),
        Body::Nonce(nonce).into(),
        Body::KeyExchange(KeyExchange::new(Group::CURVE25519, &[3; 32])).into(),
    ]
}

#[test]
fn a_rekeyed_sa_is_opened_with_the_keys_of_the_one_before_even_from_fragments() {
    let account = of_capture(NAME, secrets(NAME)).remove(0);
    let old = (account.spi_i.unwrap(), account.spi_r.unwrap());
    let secret = |name| Secret::from_slice(&crate::hex::decode(key(&account, name)).unwrap());
    let (new, g_ir) = (([1; 8], [2; 8]), [5; 32]);
    let plain = |payloads: &[Payload<'_>]| {
        let mut out = Vec::new();
        Payload::emit_all(payloads, &mut out).unwrap();
        (out, first(payloads))
    };

    let (request, first) = plain(&rekey(&new.0, &[6; 32]));
    let create = |flags| header(old, ExchangeType::CREATE_CHILD_SA, flags, 77);
    let (front, back) = request.split_at(50);
    let keys_i = (&secret("SK_ei"), &secret("SK_ai"));
    let pieces = [
        sealed(create(Flags::INITIATOR), keys_i, Some((2, 2)), back, PayloadType::NONE),
        sealed(create(Flags::INITIATOR), keys_i, Some((1, 2)), front, first),
    ];
    let (response, first) = plain(&rekey(&new.1, &[7; 32]));
    let answer = sealed(create(Flags::RESPONSE), (&secret("SK_er"), &secret("SK_ar")), None, &response, first);

    let prf = Prf::HmacSha2_256;
    let seed = skeyseed_rekey(prf, &secret("SK_d"), &g_ir, &[6; 32], &[7; 32], &[]);
    let sk = SkKeys::derive(prf, PROTECTION, &seed, (&[6; 32], &[7; 32]), (&new.0, &new.1)).unwrap();
    let probe = header(new, ExchangeType::INFORMATIONAL, Flags::INITIATOR, 0);
    let probe = sealed(probe, (&sk.sk_ei, &sk.sk_ai), None, &[], PayloadType::NONE);

    let mut secrets = secrets(NAME);
    let hex = crate::hex::encode;
    let line =
        format!(r#"{{"initiator_spi":"{}","responder_spi":"{}","g_ir":"{}"}}"#, hex(&new.0), hex(&new.1), hex(&g_ir));
    secrets.add_json_lines("more", &line).unwrap();

    let mut run = Run { tracker: Tracker::new(secrets, Limits::default()), accounts: Vec::new() };
    let mut stack = Stack::new(crate::packet::Limits::default());
    for Owned { time, link, data } in &frames(&folder().join(format!("{NAME}.pcap"))) {
        let original_length = u32::try_from(data.len()).unwrap();
        stack.frame(&Frame { time: *time, link: *link, data, original_length, interface: 0 }, &mut run);
    }
    let (i, r) = (account.initiator, account.responder);
    for (message, from, to) in [(&pieces[0], i, r), (&pieces[1], i, r), (&answer, r, i), (&probe, i, r)] {
        assert!(run.tracker.datagram(&datagram(message, from, to), &mut |_| panic!("done")));
    }
    let mut accounts = Vec::new();
    run.tracker.finish(&mut |account| accounts.push(account));
    accounts.sort_by_key(|account| account.spi_i != Some(old.0));
    assert_eq!(accounts.len(), 2);
    for account in &accounts {
        assert_eq!(account.verification, Verification::Verified, "{}", serde_json::to_string(account).unwrap());
    }
    let [.., request, answer] = accounts[0].messages.as_slice() else { panic!("no messages") };
    assert_eq!((request.fragments, answer.fragments), (2, 1));
    assert_eq!(request.payloads, ["SKF", "SA", "Nonce", "KE"]);
    assert_eq!(accounts[1].messages[0].payloads, ["SK"]);
    assert_eq!(accounts[1].chosen.group.as_deref(), Some("Curve25519"));
}
