//! Where TLS begins in a stream. Its first message tells, whatever was spoken before it in the clear (SMTP, IMAP, POP3,
//! XMPP, LDAP, PostgreSQL, MySQL and all others that turn to TLS midway) and whatever the port.

use keyferry_parsers::tls::{ContentType, HandshakeType};

/// What begins somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// A record with a ClientHello.
    ClientHello,
    /// A record with a ServerHello.
    ServerHello,
    /// A ClientHello in the form of SSL 2.0, of whatever version.
    Ssl2ClientHello,
    /// A ServerHello of SSL 2.0.
    Ssl2ServerHello,
    /// A record with an alert, instead of a ServerHello.
    Alert,
}

/// Bytes from which a start is told.
pub(super) const NEEDED: usize = 11;

/// What the bytes begin with; `None` if it is no TLS, or there are too few of them.
pub(super) fn start(bytes: &[u8]) -> Option<Start> {
    if let Some([content_type, 3, 0..=4, 0, 2, 1 | 2, _]) = bytes.first_chunk()
        && *content_type == ContentType::ALERT.0
    {
        return Some(Start::Alert);
    }
    match bytes.first_chunk::<NEEDED>()? {
        [content_type, 3, 0..=4, _, _, msg_type, 0..=1, _, _, major, _]
            if *content_type == ContentType::HANDSHAKE.0 =>
        {
            match HandshakeType(*msg_type) {
                HandshakeType::CLIENT_HELLO if *major == 3 => Some(Start::ClientHello),
                // 0x7f: drafts of TLS 1.3.
                HandshakeType::SERVER_HELLO if matches!(major, 3 | 0x7f) => Some(Start::ServerHello),
                _ => None,
            }
        }
        // Length, type, version, lengths of specs, session and challenge.
        [0x80, length, 1, 0 | 3, minor, 0, specs, 0, session, 0, challenge] => {
            let parts = [*specs, *session, *challenge].iter().fold(9_usize, |sum, part| sum + usize::from(*part));
            (*minor <= 4 && specs.is_multiple_of(3) && parts == usize::from(*length)).then_some(Start::Ssl2ClientHello)
        }
        [0x80..=0xff, _, 4, 0 | 1, 0 | 1, 0, 2, ..] => Some(Start::Ssl2ServerHello),
        _ => None,
    }
}

/// Where TLS begins in a segment that may begin with something else: MySQL's client, for one, need not wait between its
/// request for TLS and its hello. A hello in the middle has to reach the end of the segment, so that one quoted by
/// another protocol is not taken for one.
pub(super) fn find(segment: &[u8]) -> Option<(usize, Start)> {
    if let Some(start) = start(segment) {
        return Some((0, start));
    }
    let hello = |at: usize| {
        let rest = segment.get(at..)?;
        let [_, _, _, high, low] = rest.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([*high, *low])).saturating_add(5);
        (start(rest)? == Start::ClientHello && length >= rest.len()).then_some((at, Start::ClientHello))
    };
    let handshakes = segment.iter().enumerate().filter(|(_, byte)| **byte == ContentType::HANDSHAKE.0);
    handshakes.map(|(at, _)| at).find_map(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: [u8; 12] = [22, 3, 1, 0, 7, 1, 0, 0, 3, 3, 3, 9];

    #[test]
    fn hellos_are_told_from_the_rest() {
        assert_eq!(start(&HELLO), Some(Start::ClientHello));
        assert_eq!(start(&[22, 3, 3, 0, 70, 2, 0, 0, 66, 0x7f, 16]), Some(Start::ServerHello));
        assert_eq!(start(&[0x80, 15, 1, 3, 0, 0, 3, 0, 0, 0, 3]), Some(Start::Ssl2ClientHello));
        assert_eq!(start(&[21, 3, 1, 0, 2, 2, 40]), Some(Start::Alert));
        for other in
            [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-OpenSSH", &HELLO[..10], &[0x80, 15, 1, 3, 0, 0, 3, 0, 0, 0, 4]]
        {
            assert_eq!(start(other), None, "{other:x?}");
        }
    }

    #[test]
    fn a_hello_behind_a_request_for_tls_is_found_and_a_quoted_one_is_not() {
        let request = [32, 0, 0, 1, 5, 0xae, 0xff, 0x19, 22, 0, 0, 1];
        assert_eq!(find(&[&request[..], &HELLO].concat()), Some((12, Start::ClientHello)));
        assert_eq!(find(&[&request[..], &HELLO, b"and more"].concat()), None);
        assert_eq!(find(b"220 mail.example ESMTP\r\n"), None);
    }
}
