//! A certificate and its private key.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
    sign::{CertifiedKey, SigningKey},
};

use crate::{
    Fingerprint,
    certificate::{Parsed, Validity},
    error::{TlsError, TlsProblem},
    files,
    provider::provider,
};

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM: the certificate, then those of the CAs between it and the root.
    pub certificate: PathBuf,
    /// PEM: the private key, without a passphrase.
    pub key: PathBuf,
}

impl IdentityFiles {
    pub(crate) fn paths(&self) -> [PathBuf; 2] {
        [self.certificate.clone(), self.key.clone()]
    }

    /// Both in one file, which one rename replaces.
    #[must_use]
    pub fn in_one(file: PathBuf) -> Self {
        Self {
            certificate: file.clone(),
            key: file,
        }
    }

    /// The time of the certificate, which may be over.
    ///
    /// # Errors
    /// When its file cannot be used.
    pub fn validity(&self) -> Result<Validity, TlsError> {
        let own = self.own()?;
        Ok(own.validity())
    }

    /// The names in the certificate: DNS names, addresses and URIs.
    ///
    /// # Errors
    /// When its file cannot be used.
    pub fn names(&self) -> Result<Vec<String>, TlsError> {
        Ok(self.own()?.names())
    }

    /// Checks that the certificate is that of a CA, that it is valid now, and that the key belongs
    /// to it.
    ///
    /// # Errors
    /// When it could sign nothing that peers accept.
    pub fn check_ca(&self) -> Result<(Fingerprint, Validity), TlsError> {
        let certified = self.load(None)?;
        let refuse = |problem| TlsError::new(&self.certificate, problem);
        let own = certified
            .cert
            .first()
            .ok_or_else(|| refuse(TlsProblem::NoCertificate))?;
        let parsed = Parsed::new(own).map_err(refuse)?;
        if !parsed.is_ca() {
            return Err(refuse(TlsProblem::NotACa));
        }
        Ok((Fingerprint::of(own), parsed.validity()))
    }

    /// The certificate, and those behind it.
    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let file = &self.certificate;
        files::certificates(file, &files::read(file)?)
    }

    fn own(&self) -> Result<Parsed, TlsError> {
        let refuse = |problem| TlsError::new(&self.certificate, problem);
        let chain = self.chain()?;
        let own = chain
            .first()
            .ok_or_else(|| refuse(TlsProblem::NoCertificate))?;
        Parsed::new(own).map_err(refuse)
    }

    /// Reads and checks both. `name` is a name for which the certificate must be valid.
    pub(crate) fn load(&self, name: Option<&str>) -> Result<Arc<CertifiedKey>, TlsError> {
        let (file, key_file) = (&self.certificate, &self.key);
        let chain = self.chain()?;
        check_chain(file, &chain, name)?;
        let key = files::key(key_file, &files::read(key_file)?)?;
        let key = provider().key_provider.load_private_key(key);
        let key = key
            .map_err(|error| TlsError::new(key_file, TlsProblem::UnusableKey(error.to_string())))?;
        fits(file, &chain, key_file, &*key)?;
        if files::is_readable_by_others(key_file) {
            tracing::warn!(
                file = %key_file.display(),
                "every user of this machine can read a private key; chmod o-r it"
            );
        }
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }
}

fn check_chain(
    file: &Path,
    chain: &[CertificateDer<'static>],
    name: Option<&str>,
) -> Result<(), TlsError> {
    let refuse = |problem| TlsError::new(file, problem);
    for der in chain {
        let parsed = Parsed::new(der).map_err(refuse)?;
        parsed.check(SystemTime::now()).map_err(refuse)?;
    }
    let (Some(name), Some(own)) = (name, chain.first()) else {
        return Ok(());
    };
    let malformed = |error: rustls::Error| refuse(TlsProblem::Malformed(error.to_string()));
    let parsed = ParsedCertificate::try_from(own).map_err(malformed)?;
    let is_valid = ServerName::try_from(name)
        .is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok());
    if is_valid {
        return Ok(());
    }
    Err(refuse(TlsProblem::OtherName {
        wanted: name.to_owned(),
        valid: Parsed::new(own).map_err(refuse)?.names(),
    }))
}

fn fits(
    file: &Path,
    chain: &[CertificateDer<'static>],
    key_file: &Path,
    key: &dyn SigningKey,
) -> Result<(), TlsError> {
    let Some(own) = chain.first() else {
        return Err(TlsError::new(file, TlsProblem::NoCertificate));
    };
    let malformed =
        |error: rustls::Error| TlsError::new(file, TlsProblem::Malformed(error.to_string()));
    let certified = ParsedCertificate::try_from(own).map_err(malformed)?;
    // ring knows the public key of each key that it loads.
    match key.public_key() {
        Some(public) if public != certified.subject_public_key_info() => {
            let file = file.to_owned();
            Err(TlsError::new(key_file, TlsProblem::KeyMismatch(file)))
        }
        _ => Ok(()),
    }
}
