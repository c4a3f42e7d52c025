//! Hosts in certificates.

use std::{fmt, net::IpAddr, str::FromStr};

use rcgen::SanType;
use thiserror::Error;

/// The longest DNS name (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;

/// A DNS name or an address that a certificate may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Name(String),
    Address(IpAddr),
}

/// A text that is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be a DNS name or an IP address, without a scheme and a port")]
pub struct HostError;

impl Host {
    /// Checks `text`. An address may be in brackets.
    ///
    /// # Errors
    /// When it is neither a DNS name nor an address.
    pub fn new(text: &str) -> Result<Self, HostError> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self(Kind::Address(ip.to_canonical())));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        // A name of digits alone is an address with a mistake.
        let is_address = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if text.len() > LONGEST_NAME || is_address || !text.split('.').all(is_label) {
            return Err(HostError);
        }
        Ok(Self(Kind::Name(text.to_ascii_lowercase())))
    }

    pub(crate) fn san(&self) -> Result<SanType, rcgen::Error> {
        Ok(match &self.0 {
            Kind::Name(name) => SanType::DnsName(name.as_str().try_into()?),
            Kind::Address(ip) => SanType::IpAddress(*ip),
        })
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::new(text)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Name(name) => f.write_str(name),
            Kind::Address(ip) => write!(f, "{ip}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: JOIN-5
    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (text, shown) in [
            ("GPU-1.Example", "gpu-1.example"),
            ("localhost", "localhost"),
            ("10.0.0.7", "10.0.0.7"),
            ("[fd00::7]", "fd00::7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("node_1", "node_1"),
        ] {
            assert_eq!(Host::new(text).unwrap().to_string(), shown);
        }
        let long = "a".repeat(64);
        for wrong in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a:1",
            "https://a",
            "a/b",
            "*.a",
            "1.2.3",
            "1.2.3.456",
            "ä",
            "a b",
            &long,
        ] {
            assert_eq!(Host::new(wrong), Err(HostError), "{wrong:?}");
        }
    }
}
