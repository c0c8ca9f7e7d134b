//! A terminal with certificates, a rustls client in memory, and the loop that lets the engine serve it.

use std::net::IpAddr;
use std::sync::Arc;

use keyferry::crypto::{GROUPS, SUITES, Secret, provider};
use keyferry::error::Error;
use keyferry::signer::{Credential, LocalSigner, Signer};
use keyferry::tls::{self, Established, Handshake, Progress, Serve, Service, ServiceProfile};
use keyferry_channel::Instant;
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore};

use crate::peer::*;
use crate::pki::*;

pub const OWNER: &str = "meter-7";

pub const CLIENT_ADDRESS: [u8; 4] = [10, 7, 2, 2];

/// A terminal with these certificates, their keys in a signer of its own.
pub fn terminal(identities: &[&Identity]) -> tls::Identity {
    let signer = LocalSigner::new(
        || Instant::from_micros(0),
        |buffer| {
            SystemRandom::new().fill(buffer).unwrap();
            Ok(())
        },
    );
    let credentials = credentials(identities);
    for (identity, credential) in identities.iter().zip(&credentials) {
        signer.insert(OWNER, credential.clone(), &Secret::from_slice(&identity.key.serialize_der())).unwrap();
    }
    with_signer(credentials, Arc::new(signer))
}

pub fn with_signer(credentials: Vec<Arc<Credential>>, signer: Arc<dyn Signer>) -> tls::Identity {
    tls::Identity { owner: OWNER.to_owned(), credentials, signer }
}

pub fn credentials(identities: &[&Identity]) -> Vec<Arc<Credential>> {
    let credential = |(number, identity): (usize, &&Identity)| {
        let chain = identity.chain.iter().map(|der| der.to_vec()).collect();
        Arc::new(Credential::new(&format!("certificate-{number}"), chain).unwrap())
    };
    identities.iter().enumerate().map(credential).collect()
}

/// A service of that terminal that takes whatever comes.
pub fn serve(identity: tls::Identity) -> Serve {
    Serve { peer: IpAddr::from(CLIENT_ADDRESS), suites: SUITES.to_vec(), alpn: vec![], identity }
}

/// A handshake of a service.
pub fn serving(profile: &ServiceProfile, serve: &Serve) -> Box<dyn Handshake> {
    let mut engine = Service::new(profile).unwrap().start(serve).unwrap();
    assert!(drained(engine.as_mut()).is_empty(), "a server waits for the hello");
    engine
}

/// A client that knows all groups and suites and trusts this CA.
pub fn client_config(pki: &Pki) -> ClientConfig {
    client_config_of(pki, &GROUPS, &SUITES, None)
}

pub fn client_config_of(
    pki: &Pki,
    groups: &[NamedGroup],
    suites: &[CipherSuite],
    key: Option<Arc<CertifiedKey>>,
) -> ClientConfig {
    let provider = provider(groups, suites).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pki.root.der().clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Fixed))
        .with_protocol_versions(&versions_of(suites))
        .unwrap()
        .with_webpki_verifier(verifier);
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config
}

#[derive(Debug)]
pub struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(TIME))
    }
}

/// How a handshake came out, seen from both ends.
pub struct Served {
    pub result: Result<Box<Established>, Error>,
    /// The alert that reached the client.
    pub alert: Option<AlertDescription>,
    /// What the client made of it all.
    pub client_error: Option<rustls::Error>,
    pub client: ClientConnection,
    pub engine: Box<dyn Handshake>,
}

impl Served {
    #[track_caller]
    pub fn established(self) -> Box<Established> {
        self.result.unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub fn error(self) -> Error {
        self.result.err().expect("a handshake that fails")
    }
}

/// Plays a handshake with a client that asks for [`NAME`].
pub fn play_client(engine: Box<dyn Handshake>, config: ClientConfig) -> Served {
    play_client_through(engine, config, NAME, |_, bytes| bytes)
}

/// The same for any name or address; `path` sees every flight of the client, counted from 0.
pub fn play_client_through(
    mut engine: Box<dyn Handshake>,
    config: ClientConfig,
    name: &str,
    mut path: impl FnMut(usize, Vec<u8>) -> Vec<u8>,
) -> Served {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let (mut result, mut client_error) = (None, None);
    for flight in 0.. {
        let delivered = path(flight, take(&mut client));
        if result.is_some() || delivered.is_empty() {
            break;
        }
        let mut rest = &delivered[..];
        while result.is_none()
            && let Some(record) = next_record(&mut rest)
        {
            match engine.feed(TIME, record) {
                Ok(Progress::Handshaking) => {}
                Ok(Progress::Established(established)) => result = Some(Ok(established)),
                Err(error) => result = Some(Err(error)),
            }
        }
        if let Err(error) = give(&mut client, engine.as_mut()) {
            client_error.get_or_insert(error);
        }
    }
    let alert = match &client_error {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    };
    let result = result.unwrap_or_else(|| Err(engine.peer_closed()));
    Served { result, alert, client_error, client, engine }
}
