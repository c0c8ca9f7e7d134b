//! What came of an SA, in plain words: notifications, silence, and algorithms that nobody should use.

use keyferry_parsers::ike::{v1, v2};

use crate::replay::account::{Account, Chosen, Fault, Protocol, Side};

/// An error notification of IKEv1 in plain words, and who has to change something.
pub(super) fn error_v1(notify: v1::NotifyType, from: Side) -> (Fault, String) {
    use v1::NotifyType as N;
    let who = who(from);
    let (fault, text) = match notify {
        N::NO_PROPOSAL_CHOSEN => (
            Fault::Both,
            "accepts none of the offered algorithms: give both sides one proposal in common (cipher, hash, group, \
             authentication, in quick mode also tunnel or transport)",
        ),
        N::AUTHENTICATION_FAILED | N::INVALID_HASH_INFORMATION | N::INVALID_SIGNATURE => (
            Fault::Both,
            "does not believe the other's identity: compare the pre-shared keys or certificates of both sides",
        ),
        N::INVALID_ID_INFORMATION => (
            Fault::Both,
            "does not know the identities or networks it was asked for: compare IDs, and the local and remote networks \
             of both sides",
        ),
        N::PAYLOAD_MALFORMED => (
            Fault::Both,
            "cannot read what it was sent; of an encrypted message that means other keys: compare the pre-shared keys",
        ),
        N::INVALID_KEY_INFORMATION => (Fault::Both, "rejects the key exchange: set the same group on both sides"),
        N::INVALID_CERTIFICATE | N::INVALID_CERT_AUTHORITY | N::INVALID_CERT_ENCODING | N::CERT_TYPE_UNSUPPORTED => {
            (Fault::Both, "rejects the certificate: check its validity and whom the receiver trusts")
        }
        N::CERTIFICATE_UNAVAILABLE => (Fault::Both, "misses a certificate: configure one on the other side"),
        N::INVALID_EXCHANGE_TYPE | N::UNSUPPORTED_EXCHANGE_TYPE => {
            (Fault::Both, "does not do this exchange: set main or aggressive mode alike on both sides")
        }
        N::INVALID_COOKIE => (Fault::Responder, "no longer knows this SA: it was restarted, or has deleted it"),
        N::INVALID_MAJOR_VERSION | N::INVALID_MINOR_VERSION => {
            (Fault::Both, "does not speak this version of IKE: set the same version on both sides")
        }
        _ => (Fault::Both, "refuses"),
    };
    (fault, format!("the {who} {text} ({notify})"))
}

/// An error notification of IKEv2 in plain words, and who has to change something.
pub(super) fn error_v2(notify: v2::NotifyType, from: Side) -> (Fault, String) {
    use v2::NotifyType as N;
    let who = who(from);
    let (fault, text) = match notify {
        N::NO_PROPOSAL_CHOSEN => (
            Fault::Both,
            "accepts none of the offered proposals: give both sides one combination of encryption, PRF, integrity and \
             key exchange in common",
        ),
        N::INVALID_KE_PAYLOAD => {
            (Fault::Both, "wants another group, and was not asked again: offer the group that it names")
        }
        N::AUTHENTICATION_FAILED => (
            Fault::Both,
            "does not believe the other's identity, or does not know it: compare IDs, pre-shared keys and certificates \
             of both sides",
        ),
        N::TS_UNACCEPTABLE | N::INVALID_SELECTORS | N::SINGLE_PAIR_REQUIRED => (
            Fault::Both,
            "accepts none of the offered traffic selectors: compare local and remote networks of both sides",
        ),
        N::INVALID_SYNTAX => (Fault::Both, "cannot read what it was sent: one of the two has a fault in its IKE"),
        N::UNSUPPORTED_CRITICAL_PAYLOAD => {
            (Fault::Both, "does not understand a payload that the other calls critical: switch that extension off")
        }
        N::INVALID_MAJOR_VERSION => (Fault::Both, "does not speak this version of IKE: set the same on both sides"),
        N::INVALID_IKE_SPI => (Fault::Responder, "no longer knows this SA: it was restarted, or has deleted it"),
        N::INTERNAL_ADDRESS_FAILURE | N::FAILED_CP_REQUIRED => {
            (Fault::Both, "has no address to give, or misses the request for one: check the address pool")
        }
        N::NO_ADDITIONAL_SAS => (Fault::Responder, "allows no more SAs on this IKE SA"),
        N::TEMPORARY_FAILURE => (Fault::Network, "is busy with a rekey, and wants to be asked again later"),
        N::AUTHORIZATION_FAILED => (Fault::Responder, "knows the other, but does not allow it in"),
        _ => (Fault::Both, "refuses"),
    };
    (fault, format!("the {who} {text} ({notify})"))
}

/// Nobody has answered, although the initiator has asked more than once.
pub(super) fn no_answer(account: &mut Account, times: usize) {
    let responder = account.responder;
    account.fail(
        Fault::Network,
        format!(
            "nobody answers at {responder}: the first message was sent {times} times; check the address, the firewalls on \
             the way, and whether IKE runs there and knows this peer"
        ),
    );
}

/// Notes what of the chosen algorithms should not be used any more.
pub(super) fn weaknesses(account: &mut Account) {
    let Chosen { cipher, prf, hash, group, .. } = account.chosen.clone();
    if let Some(cipher) = cipher {
        let weak = [("3DES", "3DES: blocks of 64 bits"), ("DES", "DES: keys of 56 bits")];
        if let Some((_, text)) = weak.iter().find(|(name, _)| cipher.contains(name)) {
            account.weakness(*text);
        }
        for name in ["IDEA", "CAST", "Blowfish", "BLOWFISH", "RC5"] {
            if cipher.contains(name) {
                account.weakness(format!("{cipher}: blocks of 64 bits"));
            }
        }
        if cipher.starts_with("ENCR_NULL") {
            account.weakness("no encryption");
        }
    }
    for name in [prf, hash].into_iter().flatten() {
        if name.contains("MD5") {
            account.weakness(format!("{name}: MD5 is broken"));
        }
    }
    if let Some(group) = group {
        weak_group(account, &group);
    }
    let auth = account.chosen.auth.as_deref().unwrap_or_default();
    let by_psk = auth == "pre-shared key" || auth.contains("PreShared");
    if account.protocol == Protocol::Ikev1 && account.exchange == "aggressive" && by_psk {
        account.weakness("aggressive mode with a pre-shared key: whoever listens can try passwords offline");
    }
}

fn weak_group(account: &mut Account, name: &str) {
    use keyferry_parsers::ike::Group;
    match Group::from_name(name) {
        Some(Group::MODP_768 | Group::MODP_1024) => {
            account.weakness(format!("{name}: can be broken by those with means"));
        }
        Some(Group::MODP_1536) => account.weakness(format!("{name}: less than 112 bits of security")),
        Some(Group::MODP_1024_160 | Group::MODP_2048_224 | Group::MODP_2048_256) => {
            account.weakness(format!("{name}: its small subgroup and unknown origin make it a must not (RFC 8247)"));
        }
        _ => {}
    }
}

fn who(side: Side) -> &'static str {
    match side {
        Side::Initiator => "initiator",
        Side::Responder => "responder",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let address = "192.0.2.1:500".parse().unwrap();
        Account::new(Protocol::Ikev1, address, address, "aggressive")
    }

    #[test]
    fn old_algorithms_are_weaknesses() {
        let mut account = account();
        account.chosen.cipher = Some("3DES-CBC".to_owned());
        account.chosen.hash = Some("MD5".to_owned());
        account.chosen.group = Some("1024-bit MODP Group".to_owned());
        account.chosen.auth = Some("pre-shared key".to_owned());
        weaknesses(&mut account);
        assert_eq!(account.weaknesses.len(), 4, "{:?}", account.weaknesses);
        assert!(account.weaknesses[0].starts_with("3DES"));
    }

    #[test]
    fn an_error_says_what_to_change() {
        let (fault, text) = error_v1(v1::NotifyType::NO_PROPOSAL_CHOSEN, Side::Responder);
        assert_eq!(fault, Fault::Both);
        assert!(text.starts_with("the responder accepts none") && text.ends_with("(NO-PROPOSAL-CHOSEN)"), "{text}");
        let (_, text) = error_v2(v2::NotifyType(8000), Side::Initiator);
        assert_eq!(text, "the initiator refuses (notification 8000)");
    }
}
