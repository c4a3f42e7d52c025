//! The SHA-256 fingerprint of a certificate.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER form.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "must be the SHA-256 fingerprint of the CA certificate, 64 hex digits with or without colons, \
     as `openssl x509 -noout -fingerprint -sha256 -in FILE` prints it"
)]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Takes 64 hex digits, with or without colons, and with or without `sha256:` before them.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits = match text.split_at_checked("sha256:".len()) {
            Some((algorithm, rest)) if algorithm.eq_ignore_ascii_case("sha256:") => rest,
            _ => text,
        };
        let mut bytes = [0; 32];
        let digits: String = digits.chars().filter(|&digit| digit != ':').collect();
        const_hex::decode_to_slice(digits, &mut bytes).map_err(|_| FingerprintError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: TLS-6
    #[test]
    fn a_fingerprint_is_read_as_tools_print_it() {
        let expected = Fingerprint::of(b"certificate");
        let plain = expected.to_string();
        let pairs: Vec<&str> = (0..64).step_by(2).map(|at| &plain[at..at + 2]).collect();
        let with_colons = pairs.join(":").to_uppercase();
        for text in [
            &plain,
            &with_colons,
            &format!("sha256:{plain}"),
            &format!("SHA256:{with_colons}"),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in ["", "sha256:", &plain[1..], &format!("{plain}0"), "x", "ä"] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(FingerprintError));
        }
    }
}
