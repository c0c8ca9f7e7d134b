//! A fresh certificate authority with an intermediate, certificates good and bad, and revocation lists.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevocationReason, RevokedCertParams, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// A root, an intermediate signed by it, and a second root that nobody trusts.
#[derive(Debug)]
pub struct Pki {
    directory: PathBuf,
    anchor_file: PathBuf,
    root: Authority,
    intermediate: Authority,
    stranger: Authority,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The leaf, then the intermediate.
    pub chain_file: PathBuf,
    /// The leaf alone.
    pub certificate_file: PathBuf,
    /// The intermediate alone.
    pub issuer_file: PathBuf,
    /// PKCS #8.
    pub key_file: PathBuf,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) in hex, as a `pins` entry takes it after `sha256:`.
    pub pin: String,
    serial: SerialNumber,
}

/// What to put into a certificate.
#[derive(Clone, Debug)]
pub struct LeafOptions<'a> {
    /// DNS names and IP addresses.
    pub names: &'a [&'a str],
    /// The kind of its key.
    pub key: KeyKind,
    /// When it is valid.
    pub validity: Validity,
    /// Who signs it.
    pub issuer: Issuer,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a certificate is for (extended key usage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// TLS servers.
    Server,
    /// TLS clients.
    Client,
    /// Both.
    Both,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// 2048 bits.
    Rsa,
    /// On P-256.
    EcdsaP256,
    /// On P-384.
    EcdsaP384,
    /// RFC 8032.
    Ed25519,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From yesterday for a month.
    Current,
    /// Until yesterday.
    Expired,
    /// From tomorrow.
    NotYet,
}

/// Who signs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// The intermediate under [`Pki::anchor_file`].
    Intermediate,
    /// An authority that is in no trust list.
    Stranger,
}

struct Authority {
    issuer: rcgen::Issuer<'static, KeyPair>,
    pem: String,
}

impl Pki {
    /// Makes both authorities in a directory.
    pub fn new(directory: &Path) -> Result<Self> {
        let directory = directory.join("pki");
        std::fs::create_dir_all(&directory)?;
        let root = Authority::root("Lab root")?;
        let anchor_file = directory.join("root.pem");
        std::fs::write(&anchor_file, &root.pem)?;
        Ok(Self {
            intermediate: Authority::under(&root, "Lab intermediate")?,
            root,
            stranger: Authority::root("Stranger's root")?,
            directory,
            anchor_file,
        })
    }

    /// The root's certificate: the trust anchor of everything current.
    pub fn anchor_file(&self) -> &Path {
        &self.anchor_file
    }

    /// Writes the current revocation lists of root and intermediate into one file, in one step, and names it. The
    /// intermediate's revokes these leaves.
    pub fn revocation_lists(&self, revoked: &[&Leaf], validity: Validity) -> Result<PathBuf> {
        let file = self.directory.join("revoked.pem");
        let lists = [self.root.revocation_list(&[], validity)?, self.intermediate.revocation_list(revoked, validity)?];
        let new = self.directory.join("revoked.new");
        std::fs::write(&new, lists.concat())?;
        std::fs::rename(&new, &file)?;
        Ok(file)
    }

    /// A good certificate for `name` with a P-256 key.
    pub fn good_leaf(&self, name: &str) -> Result<Leaf> {
        self.leaf(&LeafOptions::new(&[name]))
    }

    /// A certificate as asked for. Each call makes a new key.
    pub fn leaf(&self, options: &LeafOptions<'_>) -> Result<Leaf> {
        let authority = match options.issuer {
            Issuer::Intermediate => &self.intermediate,
            Issuer::Stranger => &self.stranger,
        };
        let key = options.key.generate()?;
        let digest = Sha256::digest(key.subject_public_key_info());
        // Positive, and shorter than the 20 bytes that are allowed.
        let serial: Vec<u8> = [&[1][..], digest.get(..15).unwrap_or_default()].concat();
        let serial = SerialNumber::from(serial);
        let certificate = leaf_params(options, serial.clone())?.signed_by(&key, &authority.issuer)?;
        let pin = hex(&digest);
        let file = |suffix: &str, text: &str| -> Result<PathBuf> {
            let path = self.directory.join(format!("{pin:.16}-{suffix}.pem"));
            std::fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Leaf {
            chain_file: file("chain", &format!("{}{}", certificate.pem(), authority.pem))?,
            certificate_file: file("leaf", &certificate.pem())?,
            issuer_file: file("issuer", &authority.pem)?,
            key_file: file("key", &key.serialize_pem())?,
            pin,
            serial,
        })
    }
}

impl<'a> LeafOptions<'a> {
    /// A server's: current, P-256, by the intermediate.
    pub fn new(names: &'a [&'a str]) -> Self {
        Self {
            names,
            key: KeyKind::EcdsaP256,
            validity: Validity::Current,
            issuer: Issuer::Intermediate,
            purpose: Purpose::Server,
        }
    }

    /// A client's, else the same.
    pub fn client(names: &'a [&'a str]) -> Self {
        Self { purpose: Purpose::Client, ..Self::new(names) }
    }
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Rsa, Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519];

    fn generate(self) -> Result<KeyPair> {
        Ok(match self {
            Self::Rsa => openssl_key(&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"])?,
            Self::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
            Self::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?,
            // ring writes it in a form (RFC 5958 with the public key) that OpenSSL 3.0 does not read.
            Self::Ed25519 => openssl_key(&["ED25519"])?,
        })
    }
}

fn openssl_key(algorithm: &[&str]) -> Result<KeyPair> {
    let mut command = Command::new("openssl");
    command.args(["genpkey", "-quiet", "-algorithm"]).args(algorithm);
    KeyPair::from_pem(&super::finish(&mut command)?).context("reading the key that openssl made")
}

impl Authority {
    fn root(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let params = authority_params(name, BasicConstraints::Unconstrained)?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: rcgen::Issuer::new(params, key), pem })
    }

    fn under(root: &Self, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let params = authority_params(name, BasicConstraints::Constrained(0))?;
        let pem = params.signed_by(&key, &root.issuer)?.pem();
        Ok(Self { issuer: rcgen::Issuer::new(params, key), pem })
    }

    fn revocation_list(&self, revoked: &[&Leaf], validity: Validity) -> Result<String> {
        let (this_update, next_update) = validity.period();
        let entry = |leaf: &&Leaf| RevokedCertParams {
            serial_number: leaf.serial.clone(),
            revocation_time: this_update,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn authority_params(name: &str, constraints: BasicConstraints) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = Validity::Current.period();
    Ok(params)
}

fn leaf_params(options: &LeafOptions<'_>, serial: SerialNumber) -> Result<CertificateParams> {
    let names: Vec<String> = options.names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    let common_name = options.names.first().copied().unwrap_or("nobody");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match options.purpose {
        Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Purpose::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.serial_number = Some(serial);
    (params.not_before, params.not_after) = options.validity.period();
    Ok(params)
}

impl Validity {
    fn period(self) -> (OffsetDateTime, OffsetDateTime) {
        let now: OffsetDateTime = std::time::SystemTime::now().into();
        let (from, to) = match self {
            Self::Current => (-1, 30),
            Self::Expired => (-30, -1),
            Self::NotYet => (1, 30),
        };
        (now + Duration::days(from), now + Duration::days(to))
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
