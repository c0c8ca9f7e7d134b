use super::*;
use PayloadType as P;
use alloc::string::ToString;

const MAIN_MODE: ExchangeType = ExchangeType::IDENTITY_PROTECTION;

fn clear(exchange_type: ExchangeType, number: u8, types: &[P]) -> Result<(), Breach> {
    check(exchange_type, Position::Message(number), Payloads::clear(types)).map_err(|broken| broken.breach)
}

fn encrypted(exchange_type: ExchangeType, number: u8, types: &[P]) -> Result<(), Breach> {
    let payloads = Payloads { clear: &[], encrypted: Some(types) };
    check(exchange_type, Position::Message(number), payloads).map_err(|broken| broken.breach)
}

fn v2(exchange_type: ExchangeType, position: Position, types: &[P]) -> Result<(), Breach> {
    let payloads = Payloads { clear: &[P::V2_SK], encrypted: Some(types) };
    check(exchange_type, position, payloads).map_err(|broken| broken.breach)
}

#[test]
fn main_mode_has_its_payloads() {
    assert_eq!(clear(MAIN_MODE, 1, &[P::SA, P::VID, P::VID]), Ok(()));
    assert_eq!(clear(MAIN_MODE, 1, &[P::VID, P::SA]), Err(Breach::NotFirst));
    assert_eq!(clear(MAIN_MODE, 1, &[P::VID]), Err(Breach::Missing { or: None }));
    assert_eq!(clear(MAIN_MODE, 2, &[P::SA, P::SA]), Err(Breach::TooMany { max: 1, found: 2 }));
    assert_eq!(clear(MAIN_MODE, 2, &[P::SA, P::KE]), Err(Breach::Unexpected));
    assert_eq!(clear(MAIN_MODE, 3, &[P::KE, P::NONCE, P::NAT_D, P::NAT_D]), Ok(()));
    assert_eq!(encrypted(MAIN_MODE, 5, &[P::ID, P::CERT, P::SIG, P::N]), Ok(()));
    assert_eq!(encrypted(MAIN_MODE, 6, &[P::ID, P::HASH]), Ok(()));
    assert_eq!(encrypted(MAIN_MODE, 5, &[P::ID]), Err(Breach::Missing { or: Some(P::SIG) }));
    assert_eq!(encrypted(MAIN_MODE, 5, &[P::ID, P::HASH, P::SIG]), Err(Breach::TooMany { max: 1, found: 2 }));
    assert_eq!(clear(MAIN_MODE, 5, &[P::ID, P::HASH]), Err(Breach::NotEncrypted));
    assert_eq!(encrypted(MAIN_MODE, 3, &[P::KE, P::NONCE]), Err(Breach::Encrypted));
    assert_eq!(clear(MAIN_MODE, 7, &[P::SA]), Err(Breach::NoSuchMessage));
}

#[test]
fn aggressive_mode_may_end_in_the_clear() {
    let types = [P::SA, P::KE, P::NONCE, P::ID, P::VID];
    assert_eq!(clear(ExchangeType::AGGRESSIVE, 1, &types), Ok(()));
    assert_eq!(clear(ExchangeType::AGGRESSIVE, 2, &types), Err(Breach::Missing { or: Some(P::SIG) }));
    assert_eq!(clear(ExchangeType::AGGRESSIVE, 3, &[P::HASH, P::NAT_D]), Ok(()));
    assert_eq!(encrypted(ExchangeType::AGGRESSIVE, 3, &[P::SIG, P::CERT]), Ok(()));
}

#[test]
fn quick_mode_begins_with_its_hash() {
    let quick_mode = ExchangeType::QUICK_MODE;
    assert_eq!(encrypted(quick_mode, 1, &[P::HASH, P::SA, P::NONCE, P::KE, P::ID, P::ID]), Ok(()));
    assert_eq!(encrypted(quick_mode, 1, &[P::SA, P::HASH, P::NONCE]), Err(Breach::NotFirst));
    assert_eq!(encrypted(quick_mode, 2, &[P::HASH, P::NONCE, P::SA]), Err(Breach::NotFirst));
    assert_eq!(encrypted(quick_mode, 3, &[P::HASH]), Ok(()));
    assert_eq!(encrypted(quick_mode, 3, &[P::HASH, P::SA]), Err(Breach::Unexpected));
}

#[test]
fn phase_2_alone_is_protected() {
    assert_eq!(clear(ExchangeType::INFORMATIONAL_V1, 1, &[P::N]), Ok(()));
    assert_eq!(encrypted(ExchangeType::INFORMATIONAL_V1, 1, &[P::HASH, P::D]), Ok(()));
    assert_eq!(encrypted(ExchangeType::INFORMATIONAL_V1, 1, &[P::N]), Err(Breach::Missing { or: None }));
    assert_eq!(encrypted(ExchangeType::TRANSACTION, 9, &[P::HASH, P::ATTR]), Ok(()));
    assert_eq!(clear(ExchangeType::TRANSACTION, 1, &[P::HASH, P::ATTR]), Err(Breach::NotEncrypted));
}

#[test]
fn ike_sa_init_may_be_refused() {
    let offer = [P::V2_SA, P::V2_KE, P::V2_NONCE, P::V2_N];
    let init = |position, types| {
        check(ExchangeType::IKE_SA_INIT, position, Payloads::clear(types)).map_err(|broken| broken.breach)
    };
    assert_eq!(init(Position::Request, &offer), Ok(()));
    assert_eq!(init(Position::Response, &offer), Ok(()));
    assert_eq!(init(Position::Response, &[P::V2_N]), Ok(()));
    assert_eq!(init(Position::Request, &[P::V2_N]), Err(Breach::Missing { or: None }));
    assert_eq!(init(Position::Response, &offer[..2]), Err(Breach::Missing { or: None }));
    assert_eq!(init(Position::Message(1), &offer), Err(Breach::NoSuchMessage));
}

#[test]
fn ike_auth_has_several_forms() {
    let auth = ExchangeType::IKE_AUTH;
    let (request, response) = (Position::Request, Position::Response);
    assert_eq!(v2(auth, request, &[P::V2_IDI, P::V2_AUTH, P::V2_SA, P::V2_TSI, P::V2_TSR]), Ok(()));
    assert_eq!(v2(auth, request, &[P::V2_IDI, P::V2_AUTH]), Ok(()));
    assert_eq!(v2(auth, request, &[P::V2_EAP]), Ok(()));
    assert_eq!(v2(auth, request, &[P::V2_AUTH]), Ok(()));
    assert_eq!(v2(auth, request, &[P::V2_IDI, P::V2_SA, P::V2_TSI]), Err(Breach::Missing { or: None }));
    assert_eq!(v2(auth, request, &[]), Err(Breach::Missing { or: None }));
    assert_eq!(v2(auth, response, &[P::V2_IDR, P::V2_AUTH, P::V2_SA, P::V2_TSI, P::V2_TSR]), Ok(()));
    assert_eq!(v2(auth, response, &[P::V2_IDR, P::V2_AUTH, P::V2_N]), Ok(()));
    assert_eq!(v2(auth, response, &[P::V2_N]), Ok(()));
    assert_eq!(v2(auth, response, &[P::V2_IDI]), Err(Breach::Unexpected));
}

#[test]
fn child_sas_are_new_or_of_ike() {
    let exchange = ExchangeType::CREATE_CHILD_SA;
    assert_eq!(v2(exchange, Position::Request, &[P::V2_N, P::V2_SA, P::V2_NONCE, P::V2_TSI, P::V2_TSR]), Ok(()));
    assert_eq!(v2(exchange, Position::Request, &[P::V2_SA, P::V2_NONCE, P::V2_KE]), Ok(()));
    assert_eq!(v2(exchange, Position::Request, &[P::V2_N]), Err(Breach::Missing { or: None }));
    assert_eq!(v2(exchange, Position::Response, &[P::V2_N]), Ok(()));
    assert_eq!(v2(ExchangeType::INFORMATIONAL, Position::Response, &[]), Ok(()));
    assert_eq!(v2(ExchangeType::IKE_INTERMEDIATE, Position::Request, &[P::V2_KE]), Ok(()));
    assert_eq!(v2(ExchangeType::IKE_FOLLOWUP_KE, Position::Request, &[]), Err(Breach::Missing { or: None }));
}

#[test]
fn what_cannot_be_decrypted_is_not_missed() {
    let hidden = |clear| Payloads { clear, encrypted: None };
    assert_eq!(check(ExchangeType::IKE_AUTH, Position::Request, hidden(&[P::V2_SK])), Ok(()));
    assert_eq!(check(MAIN_MODE, Position::Message(5), hidden(&[])), Ok(()));
    assert!(check(ExchangeType::IKE_AUTH, Position::Request, hidden(&[P::V2_AUTH])).is_err());
    assert!(check(ExchangeType::IKE_SA_INIT, Position::Request, hidden(&[P::V2_SK])).is_err());
}

#[test]
fn fragments_unknown_payloads_and_other_exchanges_pass() {
    let fragment = Payloads { clear: &[P::V2_SKF], encrypted: None };
    assert_eq!(check(ExchangeType::IKE_AUTH, Position::Response, fragment), Ok(()));
    assert_eq!(clear(ExchangeType::AGGRESSIVE, 2, &[P::FRAGMENT]), Ok(()));
    assert_eq!(clear(MAIN_MODE, 1, &[P::SA, P(200)]), Ok(()));
    assert_eq!(clear(ExchangeType::BASE, 1, &[P::V2_SK]), Ok(()));
}

#[test]
fn a_broken_rule_is_told_in_plain_words() {
    let told = |number, types: &[P]| {
        let payloads = Payloads { clear: &[], encrypted: Some(types) };
        check(MAIN_MODE, Position::Message(number), payloads).unwrap_err().to_string()
    };
    assert_eq!(
        told(5, &[P::HASH, P::ID, P::SA]),
        "Identity Protection message 5 has a payload of type SA, which does not belong there"
    );
    assert_eq!(told(5, &[P::ID]), "Identity Protection message 5 has neither HASH nor SIG payload");
    assert_eq!(told(5, &[P::SIG]), "Identity Protection message 5 has no ID payload");
    assert_eq!(told(7, &[]), "Identity Protection message 7 does not exist");
}

#[test]
fn every_message_has_one_entry() {
    for (at, exchange) in EXCHANGES.iter().enumerate() {
        let same = |other: &&Exchange| {
            other.exchange_type == exchange.exchange_type
                && (other.position == exchange.position || other.position.is_none() || exchange.position.is_none())
        };
        assert_eq!(EXCHANGES.iter().skip(at).filter(same).count(), 1, "{}", exchange.exchange_type);
        for rule in exchange.forms.iter().flat_map(|form| form.rules) {
            assert!(rule.min <= rule.max);
        }
    }
}
