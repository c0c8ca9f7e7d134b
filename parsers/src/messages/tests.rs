use alloc::{boxed::Box, string::String, vec, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::mangle::mangle;
use crate::tls::{CipherSuite, ProtocolVersion};

// Known answers, encoded by another implementation (cbor2 for Python).
const CONNECT: &str = "a3006e7365727665722e6578616d706c65011901bb02199c41";
const CONNECT_FULL: &str = "\
    a700440a070202011920fb02199c420369732e6578616d706c65048262683268687474702f312e31068119130307190303";
const ANSWER: &str = "a300070150fd070002000000000000000000000002020a";
const HANDOVER: &str = "a80001010702191301\
    035820111111111111111111111111111111111111111111111111111111111111111104\
    582022222222222222222222222222222222222222222222222222222222222222220784440a070102199c41440a0702021901bb\
    0882016e7365727665722e6578616d706c6509831a010000001b00000040000000001a00015180";
const HANDOVER_FULL: &str = "\
    ad0001011a01020304021913020358301111111111111111111111111111111111111111111111111111111111111111111111111111\
    111111111111111111110458302222222222222222222222222222222222222222222222222222222222222222222222222222222222\
    2222222222222205010619012c0784440a070102199c41440a0702021901bb088202697368613235363a303009831a010000001b0000\
    0040000000001a000151800a6268320b4317030312f5";
const HANDOVER_TLS12: &str = "\
    ad000101070219c02f03581c1111111111111111111111111111111111111111111111111111111104581c2222222222222222222222\
    2222222222222222222222222222222222050106010784440a070102199c41440a0702021901bb0882036831302e372e322e3209831a\
    010000001b00000040000000001a000151800c1903030d011069742e6578616d706c65";
const FAILURE: &str = "a10e190191";
const FAILURE_FULL: &str = "a301070e19012e0f716578706972656420796573746572646179";
const FAILURE_LAST_WORDS: &str = "a20e190134114715030300020228";
const ECHO: &str = "4470696e67";
const ALL: [&str; 10] = [
    CONNECT,
    CONNECT_FULL,
    ANSWER,
    HANDOVER,
    HANDOVER_FULL,
    HANDOVER_TLS12,
    FAILURE,
    FAILURE_FULL,
    FAILURE_LAST_WORDS,
    ECHO,
];

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter_map(|c| char::from(c).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn handover() -> Handover {
    Handover {
        session: SessionId(7),
        suite: CipherSuite::TLS_AES_128_GCM_SHA256,
        tx_secret: Secret::new(&[0x11; 32]).unwrap(),
        rx_secret: Secret::new(&[0x22; 32]).unwrap(),
        tx_sequence: 0,
        rx_sequence: 0,
        binding: Binding {
            local: SocketAddr::new(ip("10.7.1.2"), 40001),
            remote: SocketAddr::new(ip("10.7.2.2"), 443),
        },
        peer: ProvedPeer { method: ProofMethod::CA_VERIFIED_NAME, identity: "server.example".into() },
        limits: Limits { records: 1 << 24, bytes: 1 << 38, seconds: 86400 },
        alpn: None,
        prefix: vec![],
        tls_version: ProtocolVersion::TLS_1_3,
        role: Role::CLIENT,
        server_name: None,
        resumable: false,
    }
}

#[test]
fn connect_with_defaults_names_only_peer_and_ports() {
    let connect = Connect::new(PeerName::Name("server.example".into()), 443, 40001);
    assert_eq!(*connect.encode(), bytes(CONNECT));
    assert_eq!(Connect::decode(&bytes(CONNECT)), Ok(connect));
}

#[test]
fn connect_with_everything() {
    let connect = Connect {
        sni: Some("s.example".into()),
        alpn: vec!["h2".into(), "http/1.1".into()],
        cipher_suites: vec![CipherSuite::TLS_CHACHA20_POLY1305_SHA256],
        oldest_version: ProtocolVersion::TLS_1_2,
        ..Connect::new(PeerName::Address(ip("10.7.2.2")), 8443, 40002)
    };
    assert_eq!(*connect.encode(), bytes(CONNECT_FULL));
    assert_eq!(Connect::decode(&bytes(CONNECT_FULL)), Ok(connect));
}

#[test]
fn connect_answer() {
    let answer = ConnectAnswer { session: SessionId(7), address: ip("fd07:2::2"), seconds: 10 };
    let expected = bytes(ANSWER);
    assert_eq!(answer.encode().len(), expected.len());
    let decoded = ConnectAnswer::decode(&expected).unwrap();
    assert_eq!(decoded.address, ip("fd07:2:0:0:0:0:0:2"));
    assert_eq!(decoded, answer);
    assert_eq!(*answer.encode(), expected);
}

#[test]
fn handover_with_defaults() {
    assert_eq!(*handover().encode(), bytes(HANDOVER));
    let decoded = Handover::decode(&bytes(HANDOVER)).ok().unwrap();
    assert_eq!(decoded.tx_secret.as_bytes(), [0x11; 32]);
    assert_eq!(decoded.rx_secret.as_bytes(), [0x22; 32]);
    assert_eq!(decoded.binding, handover().binding);
    assert_eq!(*decoded.encode(), bytes(HANDOVER));
}

#[test]
fn handover_with_everything() {
    let full = Handover {
        session: SessionId(0x01020304),
        suite: CipherSuite::TLS_AES_256_GCM_SHA384,
        tx_secret: Secret::new(&[0x11; 48]).unwrap(),
        rx_secret: Secret::new(&[0x22; 48]).unwrap(),
        tx_sequence: 1,
        rx_sequence: 300,
        peer: ProvedPeer { method: ProofMethod::PINNED_KEY, identity: "sha256:00".into() },
        alpn: Some("h2".into()),
        prefix: vec![0x17, 3, 3],
        resumable: true,
        ..handover()
    };
    assert_eq!(*full.encode(), bytes(HANDOVER_FULL));
    let decoded = Handover::decode(&bytes(HANDOVER_FULL)).ok().unwrap();
    assert_eq!((decoded.tx_sequence, decoded.rx_sequence), (1, 300));
    assert_eq!(decoded.prefix, [0x17, 3, 3]);
    assert!(decoded.resumable);
    assert_eq!(*decoded.encode(), bytes(HANDOVER_FULL));
}

#[test]
fn handover_of_tls_1_2_to_a_server() {
    let handover = tls12_handover();
    assert_eq!(*handover.encode(), bytes(HANDOVER_TLS12));
    let decoded = Handover::decode(&bytes(HANDOVER_TLS12)).ok().unwrap();
    assert_eq!(comparable(&decoded), comparable(&handover));
    assert_eq!((decoded.tx_secret.as_bytes(), decoded.rx_secret.as_bytes()), (&[0x11; 28][..], &[0x22; 28][..]));
}

fn tls12_handover() -> Handover {
    Handover {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        tx_secret: Secret::new(&[0x11; 28]).unwrap(),
        rx_secret: Secret::new(&[0x22; 28]).unwrap(),
        tx_sequence: 1,
        rx_sequence: 1,
        peer: ProvedPeer { method: ProofMethod::ANONYMOUS, identity: "10.7.2.2".into() },
        tls_version: ProtocolVersion::TLS_1_2,
        role: Role::SERVER,
        server_name: Some("t.example".into()),
        ..handover()
    }
}

#[test]
fn failure() {
    let bare = Failure { session: None, reason: Reason::FORBIDDEN_PEER, detail: None, last_words: vec![] };
    assert_eq!(*bare.encode(), bytes(FAILURE));
    assert_eq!(Failure::decode(&bytes(FAILURE)), Ok(bare));
    let full = Failure {
        session: Some(SessionId(7)),
        reason: Reason::CERTIFICATE_EXPIRED,
        detail: Some("expired yesterday".into()),
        last_words: vec![],
    };
    assert_eq!(*full.encode(), bytes(FAILURE_FULL));
    assert_eq!(Failure::decode(&bytes(FAILURE_FULL)), Ok(full));
}

#[test]
fn a_failure_with_last_words() {
    let alert = bytes("15030300020228");
    let failure = Failure { session: None, reason: Reason::NO_COMMON_SUITE, detail: None, last_words: alert };
    assert_eq!(*failure.encode(), bytes(FAILURE_LAST_WORDS));
    assert_eq!(Failure::decode(&bytes(FAILURE_LAST_WORDS)), Ok(failure.clone()));
    // The whole flight that an answer may carry, with every other field at its longest, is still a body of the channel.
    let most = Failure {
        session: Some(SessionId(u32::MAX)),
        detail: Some("d".repeat(Failure::MAX_DETAIL)),
        last_words: vec![1; KxAnswer::MAX_SEND],
        ..failure.clone()
    };
    assert!(most.encode().len() <= 32 * 1024);
    assert_eq!(Failure::decode(&most.encode()), Ok(most));
    // Half an alert says nothing: what is too long is left out, and refused from others.
    let more = Failure { last_words: vec![1; Failure::MAX_LAST_WORDS + 1], ..failure.clone() };
    assert_eq!(Failure::decode(&more.encode()), Ok(Failure { last_words: vec![], ..failure }));
    let length = u16::try_from(Failure::MAX_LAST_WORDS + 1).unwrap().to_be_bytes();
    let written = [&bytes("a20e190134 11 59")[..], &length, &[1; Failure::MAX_LAST_WORDS + 1]].concat();
    assert_eq!(problem(Failure::decode(&written)), Problem::Length);
}

#[test]
fn echo() {
    assert_eq!(*Echo(b"ping".to_vec()).encode(), bytes(ECHO));
    assert_eq!(Echo::decode(&bytes(ECHO)), Ok(Echo(b"ping".to_vec())));
    assert_eq!(problem(Echo::decode(&Echo(vec![0; 65]).encode())), Problem::Length);
    assert_eq!(problem(Echo::decode(&bytes("4000"))), Problem::Trailing);
}

#[test]
fn a_push_is_what_its_keys_say() {
    assert!(matches!(SessionPush::decode(&bytes(HANDOVER)), Ok(SessionPush::Handover(_))));
    assert!(matches!(SessionPush::decode(&bytes(FAILURE)), Ok(SessionPush::Failure(_))));
    assert_eq!(problem(SessionPush::decode(&bytes("a0"))), Problem::Unsupported);
    // Both a suite and a reason.
    assert_eq!(problem(SessionPush::decode(&bytes("a2021913010e190191"))), Problem::Unsupported);
}

pub(super) fn problem<T>(result: Result<T, MessageError>) -> Problem {
    match result {
        Ok(_) => panic!("decoded"),
        Err(error) => error.problem,
    }
}

#[test]
fn unknown_keys_are_ignored() {
    // FAILURE with key 23, a nested array, and key -1, a text.
    assert_eq!(Failure::decode(&bytes("a3 0e190191 17 8201a10203 20 6161")), Failure::decode(&bytes(FAILURE)));
}

#[test]
fn what_is_not_a_message_is_refused() {
    let refused = |hex| problem(Failure::decode(&bytes(hex)));
    assert_eq!(refused(""), Problem::WrongType);
    assert_eq!(refused("80"), Problem::WrongType);
    assert_eq!(refused("a0"), Problem::Missing);
    assert_eq!(refused("a20e1901910e190191"), Problem::Duplicate);
    assert_eq!(refused("a30e19019117001700"), Problem::Duplicate); // an unknown key twice
    assert_eq!(refused("a10e19019100"), Problem::Trailing);
    assert_eq!(refused("bf0e190191ff"), Problem::WrongType); // indefinite length
    assert_eq!(refused("a10e1a00010000"), Problem::Value); // 65536 is no reason
    assert_eq!(refused("a10e20"), Problem::WrongType); // nor is -1
    assert_eq!(refused("a10e6130"), Problem::WrongType);
    assert_eq!(refused("a161300e"), Problem::WrongType); // a text as key
    assert_eq!(refused("bbffffffffffffffff"), Problem::Length);
}

#[test]
fn the_error_says_where() {
    let error = Failure::decode(&bytes("a0")).unwrap_err();
    assert_eq!(alloc::format!("{error}"), "failure: reason is missing");
    let error = Failure::decode(&bytes("a10e19019100")).unwrap_err();
    assert_eq!(alloc::format!("{error}"), "failure is followed by bytes that do not belong there");
}

#[test]
fn connect_out_of_bounds_is_refused() {
    let base = || Connect::new(PeerName::Name("a".into()), 443, 40001);
    let refused = |connect: Connect| problem(Connect::decode(&connect.encode()));
    assert_eq!(refused(Connect { port: 0, ..base() }), Problem::Value);
    assert_eq!(refused(Connect { source_port: 0, ..base() }), Problem::Value);
    assert_eq!(refused(Connect { peer: PeerName::Name(String::new()), ..base() }), Problem::Length);
    assert_eq!(refused(Connect { peer: PeerName::Name("a".repeat(256)), ..base() }), Problem::Length);
    assert_eq!(refused(Connect { sni: Some("a".repeat(256)), ..base() }), Problem::Length);
    assert_eq!(refused(Connect { alpn: vec!["a".into(); 17], ..base() }), Problem::Length);
    assert_eq!(refused(Connect { alpn: vec![String::new()], ..base() }), Problem::Length);
    assert_eq!(refused(Connect { cipher_suites: vec![], ..base() }), Problem::Length);
    assert_eq!(refused(Connect { cipher_suites: vec![CipherSuite(1); 33], ..base() }), Problem::Length);
    assert_eq!(refused(Connect { peer: PeerName::Address(ip("::ffff:10.7.2.2")), ..base() }), Problem::Value);
    assert_eq!(problem(Connect::decode(&bytes("a300420102011901bb0201"))), Problem::Length); // two bytes of address
    for version in [0, 0x0301, 0x0302, 0x0305, 0xffff] {
        assert_eq!(refused(Connect { oldest_version: ProtocolVersion(version), ..base() }), Problem::Unsupported);
    }
}

#[test]
fn an_unknown_protocol_survives_for_the_answer() {
    let connect = Connect { protocol: Protocol(9), ..Connect::new(PeerName::Name("a".into()), 443, 40001) };
    assert_eq!(Connect::decode(&connect.encode()), Ok(connect));
}

#[test]
fn an_ambiguous_handover_is_refused() {
    let refused = |handover: Handover| problem(Handover::decode(&handover.encode()));
    let long = Secret::new(&[0x11; 48]).unwrap();
    assert_eq!(refused(Handover { tx_secret: long, ..handover() }), Problem::Length);
    assert_eq!(refused(Handover { suite: CipherSuite::TLS_AES_256_GCM_SHA384, ..handover() }), Problem::Length);
    assert_eq!(refused(Handover { suite: CipherSuite(0xc02b), ..handover() }), Problem::Unsupported);
    assert_eq!(refused(Handover { suite: CipherSuite(0x1301), ..tls12_handover() }), Problem::Unsupported);
    assert_eq!(refused(Handover { suite: CipherSuite(0x009c), ..tls12_handover() }), Problem::Unsupported);
    assert_eq!(refused(Handover { suite: CipherSuite(0xc030), ..tls12_handover() }), Problem::Length);
    for version in [0x0301, 0x0302, 0x0305] {
        assert_eq!(refused(Handover { tls_version: ProtocolVersion(version), ..handover() }), Problem::Unsupported);
    }
    assert_eq!(refused(Handover { role: Role(2), ..handover() }), Problem::Unsupported);
    assert_eq!(refused(Handover { server_name: Some(String::new()), ..handover() }), Problem::Length);
    assert_eq!(refused(Handover { server_name: Some("a".repeat(256)), ..handover() }), Problem::Length);
    assert_eq!(refused(Handover { prefix: vec![0; Handover::MAX_PREFIX + 1], ..handover() }), Problem::Length);
    let mixed = Binding { remote: "[fd07::1]:443".parse().unwrap(), ..handover().binding };
    assert_eq!(refused(Handover { binding: mixed, ..handover() }), Problem::Value);
    let nobody = ProvedPeer { identity: String::new(), ..handover().peer };
    assert_eq!(refused(Handover { peer: nobody, ..handover() }), Problem::Length);

    let mut version_2 = bytes(HANDOVER);
    version_2[2] = 2;
    assert_eq!(problem(Handover::decode(&version_2)), Problem::Unsupported);
}

#[test]
fn a_secret_has_the_length_of_a_hash_or_of_key_and_iv() {
    let allowed: Vec<usize> = (0..100).filter(|length| Secret::new(&vec![0; *length]).is_some()).collect();
    assert_eq!(allowed, [28, 32, 44, 48]);
}

#[test]
fn encoding_a_handover_leaves_no_copy_behind() {
    let largest = Handover {
        session: SessionId(u32::MAX),
        suite: CipherSuite::TLS_AES_256_GCM_SHA384,
        tx_secret: Secret::new(&[0x11; 48]).unwrap(),
        rx_secret: Secret::new(&[0x22; 48]).unwrap(),
        tx_sequence: u64::MAX,
        rx_sequence: u64::MAX,
        binding: Binding { local: "[fd07::1]:40001".parse().unwrap(), remote: "[fd07::2]:40001".parse().unwrap() },
        peer: ProvedPeer { method: ProofMethod(255), identity: "i".repeat(255) },
        limits: Limits { records: u64::MAX, bytes: u64::MAX, seconds: u32::MAX },
        alpn: Some("a".repeat(255)),
        prefix: vec![1; Handover::MAX_PREFIX],
        tls_version: ProtocolVersion::TLS_1_3,
        role: Role::SERVER,
        server_name: Some("s".repeat(255)),
        resumable: true,
    };
    // A buffer that never grew still has the capacity it was made with.
    let encoded = largest.encode();
    assert_eq!(encoded.capacity(), 256 + 255 + 255 + 255 + Handover::MAX_PREFIX);
    assert!(Handover::decode(&encoded).is_ok());
}

#[test]
fn mangled_messages_do_not_panic() {
    for hex in ALL {
        mangle(&bytes(hex), |mangled| {
            let _ = Connect::decode(mangled);
            let _ = ConnectAnswer::decode(mangled);
            let _ = SessionPush::decode(mangled);
            let _ = Echo::decode(mangled);
        });
    }
}

#[test]
fn a_message_cut_short_is_refused() {
    for hex in ALL {
        let whole = bytes(hex);
        for length in 0..whole.len() {
            let cut = &whole[..length];
            assert!(Connect::decode(cut).is_err());
            assert!(ConnectAnswer::decode(cut).is_err());
            assert!(SessionPush::decode(cut).is_err());
            assert!(Echo::decode(cut).is_err());
        }
    }
}

pub(super) fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
        .prop_filter("one spelling per address", |address| address.to_canonical() == *address)
}

pub(super) fn any_text(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::char::range('!', '~'), 1..=most).prop_map(|chars| chars.into_iter().collect())
}

pub(super) fn any_connect() -> impl Strategy<Value = Connect> {
    let peer = prop_oneof![any_text(255).prop_map(PeerName::Name), any_address().prop_map(PeerName::Address)];
    let alpn = proptest::collection::vec(any_text(255), 0..=16);
    let ports = (1..=u16::MAX, 1..=u16::MAX);
    (peer, ports, proptest::option::of(any_text(255)), alpn, any::<u8>(), any_suites(), any_version()).prop_map(
        |(peer, (port, source_port), sni, alpn, protocol, cipher_suites, oldest_version)| Connect {
            peer,
            port,
            source_port,
            sni,
            alpn,
            protocol: Protocol(protocol),
            cipher_suites,
            oldest_version,
        },
    )
}

pub(super) fn any_suites() -> impl Strategy<Value = Vec<CipherSuite>> {
    proptest::collection::vec(any::<u16>().prop_map(CipherSuite), 1..=32)
}

pub(super) fn any_version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![Just(ProtocolVersion::TLS_1_2), Just(ProtocolVersion::TLS_1_3)]
}

pub(super) fn any_binding() -> impl Strategy<Value = Binding> {
    (any_address(), any_address(), 1..=u16::MAX, 1..=u16::MAX)
        .prop_filter("one family", |(local, remote, ..)| local.is_ipv4() == remote.is_ipv4())
        .prop_map(|(local, remote, local_port, remote_port)| Binding {
            local: SocketAddr::new(local, local_port),
            remote: SocketAddr::new(remote, remote_port),
        })
}

fn any_handover() -> impl Strategy<Value = Shown> {
    let kinds: Vec<_> = [(0x0304, [0x1301, 0x1302, 0x1303]), (0x0303, [0xc02b, 0xc030, 0xcca8])]
        .into_iter()
        .flat_map(|(version, suites)| suites.map(|suite| (ProtocolVersion(version), CipherSuite(suite))))
        .collect();
    let kind = proptest::sample::select(kinds);
    let keys = (kind, any::<[u8; 32]>(), any::<[u8; 16]>()).prop_map(|((version, suite), head, tail)| {
        let mut secret = [head.as_slice(), tail.as_slice()].concat();
        secret.truncate(suite.secret_length(version).unwrap());
        (version, suite, secret)
    });
    let peer = (any::<u8>(), any_text(255))
        .prop_map(|(method, identity)| ProvedPeer { method: ProofMethod(method), identity });
    let limits = (any::<u64>(), any::<u64>(), any::<u32>()).prop_map(|(records, bytes, seconds)| Limits {
        records,
        bytes,
        seconds,
    });
    let names = (proptest::option::of(any_text(255)), proptest::option::of(any_text(255)));
    let rest = (names, proptest::collection::vec(any::<u8>(), 0..100), 0..=1_u8, any::<bool>());
    (any::<u32>(), keys, any::<(u64, u64)>(), any_binding(), peer, limits, rest).prop_map(
        |(session, (tls_version, suite, secret), (tx_sequence, rx_sequence), binding, peer, limits, rest)| {
            let ((alpn, server_name), prefix, role, resumable) = rest;
            Shown(Box::new(Handover {
                session: SessionId(session),
                suite,
                tx_secret: Secret::new(&secret).unwrap(),
                rx_secret: Secret::new(&secret).unwrap(),
                tx_sequence,
                rx_sequence,
                binding,
                peer,
                limits,
                alpn,
                prefix,
                tls_version,
                role: Role(role),
                server_name,
                resumable,
            }))
        },
    )
}

/// `Handover` has neither `Debug` nor `PartialEq`: all of it but the secrets.
fn comparable(handover: &Handover) -> impl PartialEq + core::fmt::Debug + use<> {
    let it = handover.clone();
    let Handover { peer, alpn, prefix, server_name, .. } = it;
    let names = (peer, alpn, prefix, server_name);
    let numbers = (it.session, it.suite, it.tx_sequence, it.rx_sequence, it.limits);
    (numbers, names, it.binding, it.tls_version, it.role, it.resumable)
}

/// So that proptest can show a case without the secrets having `Debug`.
#[derive(Clone)]
struct Shown(Box<Handover>);

impl core::fmt::Debug for Shown {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        comparable(&self.0).fmt(f)
    }
}

proptest! {
    #[test]
    fn any_connect_survives(connect in any_connect()) {
        prop_assert_eq!(Connect::decode(&connect.encode()), Ok(connect));
    }

    #[test]
    fn any_connect_answer_survives(session: u32, address in any_address(), seconds: u32) {
        let answer = ConnectAnswer { session: SessionId(session), address, seconds };
        prop_assert_eq!(ConnectAnswer::decode(&answer.encode()), Ok(answer));
    }

    #[test]
    fn any_handover_survives(handover in any_handover()) {
        let encoded = handover.0.encode();
        let Ok(SessionPush::Handover(decoded)) = SessionPush::decode(&encoded) else {
            return Err(TestCaseError::fail("refused"));
        };
        prop_assert_eq!(comparable(&decoded), comparable(&handover.0));
        prop_assert!(decoded.tx_secret.as_bytes() == handover.0.tx_secret.as_bytes());
        prop_assert_eq!(decoded.encode(), encoded);
    }

    #[test]
    fn any_failure_survives(
        session in proptest::option::of(any::<u32>().prop_map(SessionId)),
        reason in any::<u16>().prop_map(Reason),
        detail in proptest::option::of(any_text(512)),
        last_words in proptest::collection::vec(any::<u8>(), 0..=2048),
    ) {
        let failure = Failure { session, reason, detail, last_words };
        prop_assert_eq!(Failure::decode(&failure.encode()), Ok(failure));
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Connect::decode(&bytes), ConnectAnswer::decode(&bytes), Echo::decode(&bytes));
        let _ = SessionPush::decode(&bytes);
    }
}
