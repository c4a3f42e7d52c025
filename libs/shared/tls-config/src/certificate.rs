//! What is wrong with a certificate, before a peer says so.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_cert::{
    Certificate,
    der::{
        Decode as _,
        asn1::{ObjectIdentifier, Uint},
    },
    ext::pkix::{BasicConstraints, SubjectAltName, name::GeneralName},
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

/// The time of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// It is not valid before.
    pub not_before: SystemTime,
    /// It is not valid after.
    pub not_after: SystemTime,
}

impl Validity {
    /// When to renew it: after two thirds of its life. The last third is for control planes that
    /// are away, and for people who notice.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before + life.unwrap_or(Duration::ZERO) / 3 * 2
    }
}

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
        let Validity {
            not_before,
            not_after,
        } = self.validity();
        if now > not_after {
            return Err(TlsProblem::Expired(not_after));
        }
        if now < not_before {
            return Err(TlsProblem::NotYetValid(not_before));
        }
        self.check_strength()
    }

    pub(crate) fn validity(&self) -> Validity {
        let validity = self.0.tbs_certificate().validity();
        Validity {
            not_before: validity.not_before.to_system_time(),
            not_after: validity.not_after.to_system_time(),
        }
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

    /// Whether it may sign certificates.
    pub(crate) fn is_ca(&self) -> bool {
        let extension = self.0.tbs_certificate().get_extension::<BasicConstraints>();
        matches!(extension, Ok(Some((_, constraints))) if constraints.ca)
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
