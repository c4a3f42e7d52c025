//! A certificate authority for tests.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Since yesterday, for three months.
    Now,
    /// In 2020.
    Expired,
    /// In 2100.
    NotYet,
}

/// A certificate authority, for servers and clients.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Where [`Issued::write`] put the files.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key, which only its owner can read.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let mut params = params(&[], Validity::Now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// The certificate of the authority, as PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// The certificate of the authority, as DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.issuer.der()
    }

    /// A certificate for these DNS names, addresses and SPIFFE ids, valid now.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        self.issue_for(names, Validity::Now)
    }

    /// The same for any time.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue_for(&self, names: &[&str], validity: Validity) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let mut params = params(names, validity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// The same with the certificate of `authority` behind its own.
    #[must_use]
    pub fn followed_by(mut self, authority: &Authority) -> Self {
        self.certificate.push_str(&authority.certificate());
        self
    }

    /// Writes both files into `directory`, each at once, as renewal tools do.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, directory: &Path) -> Result<Files> {
        let files = Files {
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
        };
        replace(&files.key, &self.key)?;
        replace(&files.certificate, &self.certificate)?;
        Ok(files)
    }
}

/// Writes `content` under another name that only the owner can read, and renames it to `path`.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, content: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)
        .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o600)))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("write {}", path.display()))
}

fn params(names: &[&str], validity: Validity) -> Result<CertificateParams> {
    let (uris, names): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| name.starts_with("spiffe://"));
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names)?;
    for uri in uris {
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    }
    let now = SystemTime::now();
    (params.not_before, params.not_after) = match validity {
        Validity::Now => ((now - DAY).into(), (now + 90 * DAY).into()),
        Validity::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 12, 31)),
        Validity::NotYet => (date_time_ymd(2100, 1, 1), date_time_ymd(2100, 12, 31)),
    };
    Ok(params)
}

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
