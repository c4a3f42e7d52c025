//! What a certificate signing request may ask for.

use pool_registry_types::{NodeId, PemText, node_uri, quoted};
use rcgen::{
    CertificateSigningRequestParams, Error, IsCa, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PublicKey, PublicKeyData as _, SanType,
};

use tls_config::rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
use x509_cert::{
    der::{Decode as _, asn1::ObjectIdentifier},
    request::CertReq,
};

use crate::{error::SignError, host::Host};

const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How many characters of a name an error repeats.
const SHOWN_CHARS: usize = 100;

/// The public key of a request that asks for nothing but the names of `node` at `hosts`. The
/// request has proved that its sender has the private key.
pub(crate) fn public_key(
    csr: &PemText,
    node: &NodeId,
    hosts: &[Host],
) -> Result<PublicKey, SignError> {
    check_algorithms(&der(csr)?)?;
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

/// The one request in the text.
fn der(csr: &PemText) -> Result<CertificateSigningRequestDer<'static>, SignError> {
    let malformed = |reason: &str| Err(SignError::NotARequest(reason.to_owned()));
    let sections = csr.as_str().matches("-----BEGIN ").count();
    if sections > 1 {
        return malformed("it has several sections, and one request is wanted");
    }
    // As old tools write it.
    let text = csr
        .as_str()
        .replace(" NEW CERTIFICATE REQUEST", " CERTIFICATE REQUEST");
    match CertificateSigningRequestDer::from_pem_slice(text.as_bytes()) {
        Ok(der) => Ok(der),
        Err(_) => malformed("it has no section CERTIFICATE REQUEST"),
    }
}

/// Says what is wrong with key and signature before the signature is verified: for a kind that is
/// not known, that would be all that fails.
fn check_algorithms(der: &CertificateSigningRequestDer<'_>) -> Result<(), SignError> {
    let request = CertReq::from_der(der.as_ref());
    let request = request.map_err(|error| SignError::NotARequest(error.to_string()))?;
    let key = &request.info.public_key.algorithm;
    let curve = key.parameters.as_ref();
    let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
    let (kind, hash, signature) = match (key.oid, curve) {
        (EC_KEY, Some(P256)) => ("ECDSA P-256", "SHA-256", ECDSA_SHA256),
        (EC_KEY, Some(P384)) => ("ECDSA P-384", "SHA-384", ECDSA_SHA384),
        (ED25519, _) => ("Ed25519", "Ed25519", ED25519),
        _ => return Err(SignError::UnsupportedKey),
    };
    if request.algorithm.oid == signature {
        return Ok(());
    }
    Err(SignError::OtherHash { key: kind, hash })
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
