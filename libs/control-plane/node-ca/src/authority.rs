//! Signs certificates. Pure: the time is an argument.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use pool_registry_types::{CONTROL_PLANE_URI, NodeId, PemText, node_uri};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use zeroize::Zeroizing;

use crate::{
    error::SignError,
    host::Host,
    limits::{CA_LIFETIME, SERVER_LIFETIME},
    request,
};

/// A certificate is valid since this long before it was signed, for clocks that are behind; less
/// for a short life.
const BACKDATED: Duration = Duration::from_secs(10 * 60);

/// The part of a short life by which it is backdated.
const BACKDATED_PART: u32 = 10;

/// The time of a certificate to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// When it is signed.
    pub now: SystemTime,
    /// How long it is valid from then on.
    pub lifetime: Duration,
    /// It becomes valid after this time, whatever the clock says: certificates that became valid
    /// until then are revoked.
    pub after: Option<SystemTime>,
}

impl Period {
    /// A certificate that is signed now.
    #[must_use]
    pub fn from(now: SystemTime, lifetime: Duration) -> Self {
        Self {
            now,
            lifetime,
            after: None,
        }
    }

    /// When the certificate becomes valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        let backdated = self.now - BACKDATED.min(self.lifetime / BACKDATED_PART);
        // Certificates count whole seconds.
        let earliest = self.after.map(|after| after + Duration::from_secs(1));
        earliest.map_or(backdated, |earliest| earliest.max(backdated))
    }
}

/// A text in PEM form that may have a private key. `Debug` does not show it, and its memory is
/// cleared.
pub struct Pem(Zeroizing<String>);

impl Pem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem([REDACTED])")
    }
}

/// A CA with its key.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    not_after: SystemTime,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// A new CA: its certificate, and its key in PEM form.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate(now: SystemTime) -> Result<(String, Pem), SignError> {
        let mut params = params("llorch CA", &Period::from(now, CA_LIFETIME));
        // It signs no other CA.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = Pem::new(issuer.key().serialize_pem());
        Ok((issuer.pem(), key))
    }

    /// A CA from its certificate and key, both checked. It ends at `not_after`.
    ///
    /// # Errors
    /// When one of them cannot be parsed.
    pub(crate) fn new(
        certificate: String,
        key: &str,
        not_after: SystemTime,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(key)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&certificate, key)?,
            certificate,
            not_after,
        })
    }

    /// The certificate of the CA, in PEM form.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs the request `csr` of `node`, which is reached at `hosts`. The certificate has those
    /// names, and no other. The CA's certificate is behind it.
    ///
    /// # Errors
    /// When the request is wrong, or the CA ends.
    pub fn sign(
        &self,
        csr: &PemText,
        node: &NodeId,
        hosts: &[Host],
        period: Period,
    ) -> Result<String, SignError> {
        let key = request::public_key(csr, node, hosts)?;
        self.leaf("llorch node", node_uri(node), hosts, &key, period)
    }

    /// A certificate of the control plane for `hosts` with a new key: certificate, CA and key in
    /// one text.
    ///
    /// # Errors
    /// When the CA ends, or the system gives no random numbers.
    pub fn issue_control_plane(&self, hosts: &[Host], now: SystemTime) -> Result<Pem, SignError> {
        let key = KeyPair::generate()?;
        let lifetime = self.not_after.duration_since(now).unwrap_or_default();
        let period = Period::from(now, lifetime.min(SERVER_LIFETIME));
        let uri = CONTROL_PLANE_URI.to_owned();
        let mut text = self.leaf("llorch control plane", uri, hosts, &key, period)?;
        text.push_str(&key.serialize_pem());
        Ok(Pem::new(text))
    }

    fn leaf(
        &self,
        name: &str,
        uri: String,
        hosts: &[Host],
        key: &impl PublicKeyData,
        period: Period,
    ) -> Result<String, SignError> {
        let mut params = params(name, &period);
        if SystemTime::from(params.not_after) > self.not_after {
            return Err(SignError::CaEnds(self.not_after));
        }
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        for host in hosts {
            params.subject_alt_names.push(host.san()?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let mut text = params.signed_by(key, &self.issuer)?.pem();
        text.push_str(&self.certificate);
        Ok(text)
    }
}

fn params(name: &str, period: &Period) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = period.not_before().into();
    params.not_after = (period.now + period.lifetime).into();
    params
}
