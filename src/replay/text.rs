//! The account in words, for people: who spoke to whom, what they agreed on, what came of it, and whose turn it is to
//! change something.

use std::fmt::Write;

use super::account::{Account, CertificateEntry, Fault, Outcome, Protocol, Side, Verification};

/// Algorithms of an offer that are listed; the rest is counted.
const OFFERED: usize = 8;

/// Describes an account, a few lines of "what: value".
pub fn describe(account: &Account) -> String {
    let mut out = format!("{}\n", headline(account));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<10} {value}");
        }
    };
    line("began", began(account));
    line("SPIs", spis(account));
    line("name", account.sni.clone().unwrap_or_default());
    line("protocols", account.alpn.join(", "));
    line("offered", some(&account.offered));
    line("chosen", chosen(account));
    for identity in &account.identities {
        line("identity", format!("{} is {} ({})", side(identity.from), identity.value, identity.kind));
    }
    for certificate in &account.certificates {
        line("shown", shown(certificate));
    }
    line("messages", messages(account));
    for message in account.messages.iter().filter(|message| message.malformed.is_some()) {
        let malformed = message.malformed.as_deref().unwrap_or_default();
        line("malformed", format!("{} of the {}: {malformed}", message.kind, side(message.from)));
    }
    line("secrets", verification(account.verification).to_owned());
    for weakness in &account.weaknesses {
        line("weakness", weakness.clone());
    }
    for (name, value) in &account.keys {
        line("key", format!("{name} {value}"));
    }
    line("outcome", outcome(account));
    out
}

fn headline(account: &Account) -> String {
    let Account { initiator, responder, version, exchange, .. } = account;
    let protocol = match account.protocol {
        Protocol::Ikev1 => "IKEv1",
        Protocol::Ikev2 => "IKEv2",
        Protocol::Tls if version.starts_with("SSL") => "",
        Protocol::Tls => "TLS",
        Protocol::Dtls => "DTLS",
    };
    let spoken = match account.protocol {
        Protocol::Ikev1 | Protocol::Ikev2 => format!("{protocol} ({exchange})"),
        _ => format!("{protocol} {version}").trim().to_owned(),
    };
    format!("{spoken}  {initiator} -> {responder}")
}

fn began(account: &Account) -> String {
    let (Some(first), Some(last)) = (account.messages.first(), account.messages.last()) else {
        return String::new();
    };
    let lasted = last.t.saturating_sub(first.t).as_secs_f64();
    format!("{:.6} s after 1970, lasted {:.3} ms", first.t.as_secs_f64(), lasted * 1e3)
}

fn spis(account: &Account) -> String {
    let text = |spi: Option<[u8; 8]>| spi.map_or("none yet".to_owned(), |spi| crate::hex::encode(&spi));
    match account.spi_i {
        Some(spi_i) => format!("{} and {}", text(Some(spi_i)), text(account.spi_r)),
        None => String::new(),
    }
}

fn some(offered: &[String]) -> String {
    let shown = offered.iter().take(OFFERED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match offered.len().saturating_sub(OFFERED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn chosen(account: &Account) -> String {
    let chosen = &account.chosen;
    let all = [&chosen.cipher, &chosen.prf, &chosen.hash, &chosen.group, &chosen.auth];
    all.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn shown(certificate: &CertificateEntry) -> String {
    let CertificateEntry { from, subject, issuer, key, .. } = certificate;
    let names = match certificate.names.as_slice() {
        [] => String::new(),
        names => format!(" for {}", names.join(", ")),
    };
    format!("by the {}: {subject}{names}, {key}, signed by {issuer}", side(*from))
}

fn messages(account: &Account) -> String {
    let count = |from| account.messages.iter().filter(|message| message.from == from).count();
    let again = account.messages.iter().filter(|message| message.retransmission).count();
    let again = if again > 0 { format!(", {again} of them sent again") } else { String::new() };
    format!("{} and {} in answer{again}", count(Side::Initiator), count(Side::Responder))
}

fn verification(verification: Verification) -> &'static str {
    match verification {
        Verification::Verified => "fit: everything was decrypted, recomputed and found right",
        Verification::Wrong => "do NOT fit: something that was recomputed came out otherwise",
        Verification::Unverifiable => "do not reach far enough to check this handshake",
        Verification::None => "",
    }
}

fn outcome(account: &Account) -> String {
    let what = match account.outcome {
        Outcome::Established => "established",
        Outcome::Failed => "failed",
        Outcome::Incomplete => "incomplete",
    };
    let cause = account.cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"));
    let fault = match account.fault {
        Some(Fault::Initiator) => " (to be changed at the initiator)",
        Some(Fault::Responder) => " (to be changed at the responder)",
        Some(Fault::Both) => " (to be changed at either of them)",
        Some(Fault::Network) => " (neither is wrong: look at the network between them)",
        None => "",
    };
    format!("{what}{cause}{fault}")
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Initiator => "initiator",
        Side::Responder => "responder",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_and_whose() {
        let mut account =
            Account::new(Protocol::Tls, ([10, 0, 0, 1], 40000).into(), ([10, 0, 0, 2], 443).into(), "client_hello");
        account.version = "1.3".into();
        account.offered = (0..10).map(|number| format!("suite {number}")).collect();
        account.fail(Fault::Responder, "its certificate is expired: certificate_expired");
        account.fail(Fault::Initiator, "a later one");
        let text = describe(&account);
        assert!(text.starts_with("TLS 1.3  10.0.0.1:40000 -> 10.0.0.2:443\n"), "{text}");
        assert!(text.contains("suite 7 and 2 more"), "{text}");
        assert!(
            text.ends_with(
                "outcome    failed: its certificate is expired: certificate_expired (to be changed at the responder)\n"
            ),
            "{text}"
        );
        assert!(!text.contains("SPIs") && !text.contains("secrets"), "{text}");
    }

    #[test]
    fn ssl_is_called_so_and_ike_says_its_exchange() {
        let new = |protocol| Account::new(protocol, ([1, 1, 1, 1], 1).into(), ([2, 2, 2, 2], 2).into(), "main");
        let ssl = Account { version: "SSL 2.0".into(), ..new(Protocol::Tls) };
        assert!(headline(&ssl).starts_with("SSL 2.0  1.1.1.1:1"));
        assert!(headline(&new(Protocol::Ikev1)).starts_with("IKEv1 (main)  "));
    }
}
