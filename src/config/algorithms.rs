//! What a `[[peer]]` and a `[[service]]` say alike about TLS: versions, key exchange groups, cipher suites.

use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion};

use super::finding::nearest;
use super::section::{Mistake, Section};
use super::settings::{no_duplicates, values};
use crate::crypto::{GROUPS, SUITES};

/// What may be negotiated, each best first.
pub(super) struct Algorithms {
    pub key_exchange: Vec<NamedGroup>,
    pub cipher_suites: Vec<CipherSuite>,
}

/// Reads `tls_versions`, `key_exchange` and `cipher_suites`; everything there is by default.
pub(super) fn read(section: &Section<'_>) -> Algorithms {
    let versions = versions(section);
    let suites: Vec<CipherSuite> = SUITES.into_iter().filter(|suite| versions.contains(&version_of(*suite))).collect();
    let key_exchange = choice(section, "key_exchange", &GROUPS, NamedGroup::from_name, |_| None);
    let left_out = |suite| {
        let of_other_version = SUITES.contains(&suite).then(|| version_of(suite));
        of_other_version.map(|version| format!("belongs to {version}, which `tls_versions` leaves out"))
    };
    let cipher_suites = choice(section, "cipher_suites", &suites, CipherSuite::from_name, left_out);
    Algorithms { key_exchange, cipher_suites }
}

fn versions(section: &Section<'_>) -> Vec<ProtocolVersion> {
    let all = vec![ProtocolVersion::TLS_1_3, ProtocolVersion::TLS_1_2];
    let list = section.parsed_list("tls_versions", |text| match text {
        "1.3" => Ok(ProtocolVersion::TLS_1_3),
        "1.2" => Ok(ProtocolVersion::TLS_1_2),
        other => Err(Mistake::new(
            format!("TLS version `{other}` is not spoken here"),
            "write \"1.3\", \"1.2\" or both; older versions are broken",
        )),
    });
    let Some(list) = list else { return all };
    if section.is_empty_list("tls_versions") {
        let remedy = "remove the line to speak both TLS 1.3 and TLS 1.2";
        section.mistake(&section.span_of("tls_versions"), "tls_versions", "nothing could be spoken", remedy);
        return all;
    }
    no_duplicates(section, "tls_versions", &list);
    values(list)
}

fn version_of(suite: CipherSuite) -> ProtocolVersion {
    match suite.tls13_equivalent() {
        Some(same) if same == suite => ProtocolVersion::TLS_1_3,
        _ => ProtocolVersion::TLS_1_2,
    }
}

/// A list of registry names in order of preference, all of them by default. `left_out` explains why a name that
/// is known is not among them.
fn choice<T: Copy + PartialEq + std::fmt::Display>(
    section: &Section<'_>,
    key: &str,
    supported: &[T],
    from_name: impl Fn(&str) -> Option<T>,
    left_out: impl Fn(T) -> Option<String>,
) -> Vec<T> {
    let names: Vec<String> = supported.iter().map(T::to_string).collect();
    let list = section.parsed_list(key, |text| {
        let known = from_name(text);
        known.filter(|value| supported.contains(value)).ok_or_else(|| {
            let what = match known {
                Some(value) => left_out(value).unwrap_or_else(|| "is not supported".into()),
                None => "is unknown".into(),
            };
            let remedy = match nearest(text, names.iter().map(String::as_str)) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("choose from {}", names.join(", ")),
            };
            Mistake::new(format!("`{text}` {what}"), remedy)
        })
    });
    let Some(list) = list else {
        return supported.to_vec();
    };
    if section.is_empty_list(key) {
        let remedy = "remove the line to offer all of them";
        section.mistake(&section.span_of(key), key, "nothing could be offered to the peer", remedy);
    }
    no_duplicates(section, key, &list);
    values(list)
}
