//! What is wrong with a certificate, before a peer says so.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_cert::{
    Certificate,
    der::{
        Decode as _,
        asn1::{ObjectIdentifier, Uint},
    },
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::error::TlsProblem;

/// The shortest RSA key that peers accept.
const RSA_BITS: u64 = 2048;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Signatures with hashes that collide.
const WEAK_SIGNATURES: [(ObjectIdentifier, &str); 4] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"), "MD5"),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
        "SHA-1",
    ),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"), "SHA-1"),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"), "SHA-1"),
];

/// A parsed certificate.
pub(crate) struct Parsed(Certificate);

impl Parsed {
    pub(crate) fn new(der: &CertificateDer<'_>) -> Result<Self, TlsProblem> {
        let parsed = Certificate::from_der(der);
        parsed
            .map(Self)
            .map_err(|error| TlsProblem::Malformed(error.to_string()))
    }

    /// Whether peers accept it at `now`; its issuer is not looked at.
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), TlsProblem> {
        let validity = self.0.tbs_certificate().validity();
        let (begin, end) = (
            validity.not_before.to_system_time(),
            validity.not_after.to_system_time(),
        );
        if now > end {
            return Err(TlsProblem::Expired(end));
        }
        if now < begin {
            return Err(TlsProblem::NotYetValid(begin));
        }
        self.check_strength()
    }

    fn check_strength(&self) -> Result<(), TlsProblem> {
        if let Some(bits) = self.rsa_bits()?
            && bits < RSA_BITS
        {
            return Err(TlsProblem::WeakKey(bits));
        }
        let signed_with = self.0.signature_algorithm().oid;
        let weak = WEAK_SIGNATURES.iter().find(|(oid, _)| *oid == signed_with);
        // The signature of a root is not verified: it is trusted as it is.
        match weak {
            Some((_, hash)) if !self.is_self_issued() => Err(TlsProblem::WeakSignature(hash)),
            _ => Ok(()),
        }
    }

    fn is_self_issued(&self) -> bool {
        let signed = self.0.tbs_certificate();
        signed.issuer() == signed.subject()
    }

    /// The length of the modulus; `None` for a key of another kind.
    fn rsa_bits(&self) -> Result<Option<u64>, TlsProblem> {
        let key = self.0.tbs_certificate().subject_public_key_info();
        if key.algorithm.oid != RSA {
            return Ok(None);
        }
        let malformed = || TlsProblem::Malformed("its RSA key cannot be read".to_owned());
        let numbers = key.subject_public_key.as_bytes().ok_or_else(malformed)?;
        // The modulus and the exponent.
        let numbers = Vec::<Uint>::from_der(numbers).map_err(|_| malformed())?;
        let bytes = numbers.first().ok_or_else(malformed)?.as_bytes();
        let first = bytes.first().copied().unwrap_or_default();
        Ok(Some(
            bytes.len() as u64 * 8 - u64::from(first.leading_zeros()),
        ))
    }

    /// The names of its holder: DNS names, addresses and URIs.
    pub(crate) fn names(&self) -> Vec<String> {
        let extension = self.0.tbs_certificate().get_extension::<SubjectAltName>();
        let Ok(Some((_, names))) = extension else {
            return Vec::new();
        };
        names.0.iter().filter_map(shown).collect()
    }
}

fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}
