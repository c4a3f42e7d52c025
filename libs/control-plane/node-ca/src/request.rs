//! What a certificate signing request may ask for.

use bearer_auth::node_uri;
use pool_registry_types::{NodeId, PemText, quoted};
use rcgen::{
    CertificateSigningRequestParams, Error, IsCa, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PublicKey, PublicKeyData as _, SanType,
};

use crate::{error::SignError, host::Host};

/// How many characters of a name an error repeats.
const SHOWN_CHARS: usize = 100;

/// The public key of a request that asks for nothing but the names of `node` at `hosts`. The
/// request has proved that its sender has the private key.
pub(crate) fn public_key(
    csr: &PemText,
    node: &NodeId,
    hosts: &[Host],
) -> Result<PublicKey, SignError> {
    let request = CertificateSigningRequestParams::from_pem(csr.as_str()).map_err(refused)?;
    let mut own = vec![SanType::URI(node_uri(node).try_into()?)];
    for host in hosts {
        own.push(host.san()?);
    }
    for name in &request.params.subject_alt_names {
        if !own.contains(name) {
            return Err(SignError::OtherName(shown(name)));
        }
    }
    if !matches!(request.params.is_ca, IsCa::NoCa | IsCa::ExplicitNoCa) {
        return Err(SignError::AsksForCa);
    }
    check_kind(&request.public_key)?;
    Ok(request.public_key)
}

fn refused(error: Error) -> SignError {
    match error {
        Error::InvalidCertificationRequestSignature => SignError::BadSignature,
        Error::UnsupportedSignatureAlgorithm => SignError::UnsupportedKey,
        other => SignError::NotARequest(other.to_string()),
    }
}

/// rcgen takes the kind of the key from the signature, so the length of the key must be that of the
/// kind.
fn check_kind(key: &PublicKey) -> Result<(), SignError> {
    let bytes = key.der_bytes();
    let is_point = |length| bytes.len() == length && bytes.first() == Some(&4);
    let fits = match key.algorithm() {
        kind if *kind == PKCS_ECDSA_P256_SHA256 => is_point(65),
        kind if *kind == PKCS_ECDSA_P384_SHA384 => is_point(97),
        kind if *kind == PKCS_ED25519 => bytes.len() == 32,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(SignError::UnsupportedKey)
    }
}

fn shown(name: &SanType) -> String {
    match name {
        SanType::DnsName(name) => quoted(name.as_str(), SHOWN_CHARS),
        SanType::URI(uri) => quoted(uri.as_str(), SHOWN_CHARS),
        SanType::Rfc822Name(name) => quoted(name.as_str(), SHOWN_CHARS),
        SanType::IpAddress(ip) => ip.to_string(),
        _ => "of another kind".to_owned(),
    }
}
