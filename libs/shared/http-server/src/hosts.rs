//! The host names that a server without a token serves: a defence against DNS rebinding.
//!
//! A web page may resolve a name of its own to this machine. Its requests then come from a loopback
//! peer, and its origin is the requested host. Only the name distinguishes such a page from a local
//! program: an attacker can point any name of a zone that he controls to this machine, but neither
//! `localhost`, nor an address, nor this machine's own name.

use std::{
    fmt, io,
    net::{IpAddr, UdpSocket},
    str::FromStr,
    sync::Arc,
};

use http::{HeaderMap, header::HOST};
use pool_registry_types::{ErrorCode, not_this};
use thiserror::Error;

use crate::ApiError;

/// The longest name in the DNS (RFC 1035, section 2.3.4), without the dot at its end.
pub(crate) const MAX_NAME_BYTES: usize = 253;

/// How much of an invalid name an error repeats.
const MAX_ECHO_CHARS: usize = 100;

/// This name, and all names below it, always resolve to the machine that looks them up (RFC 6761,
/// section 6.3).
const LOCALHOST: &str = "localhost";

/// A text that is not a [`HostName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be a host name or an IP address, without a port, such as llorch.example{0}")]
pub struct HostNameError(String);

/// The host of a `Host` header, without its port: a name or an address. Case and a final dot are
/// ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(Host<Box<str>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host<N> {
    Name(N),
    Address(IpAddr),
}

impl FromStr for HostName {
    type Err = HostNameError;

    /// Accepts an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let unbracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match Host::of(unbracketed.unwrap_or(text)) {
            Some(Host::Address(address)) => Ok(Self(Host::Address(address))),
            Some(Host::Name(name)) if unbracketed.is_none() => {
                Ok(Self(Host::Name(name.to_ascii_lowercase().into())))
            }
            _ => Err(HostNameError(not_this(text, MAX_ECHO_CHARS))),
        }
    }
}

impl<'h> Host<&'h str> {
    /// Parses a host without a port.
    fn of(host: &'h str) -> Option<Self> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_name = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        is_name.then_some(Self::Name(name))
    }

    /// Parses a `Host` header: `uri-host [ ":" port ]` (RFC 9110, section 7.2).
    fn of_header(value: &'h str) -> Option<Self> {
        let (host, rest) = match value.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']')?;
                let address = address.parse().ok().map(IpAddr::V6)?;
                (Self::Address(address.to_canonical()), rest)
            }
            None => {
                let (host, rest) = value.split_at(value.find(':').unwrap_or(value.len()));
                (Self::of(host)?, rest)
            }
        };
        let port = if rest.is_empty() {
            rest
        } else {
            rest.strip_prefix(':')?
        };
        port.bytes().all(|b| b.is_ascii_digit()).then_some(host)
    }
}

/// The hosts that a server without a token serves: `localhost` and the names below it, the
/// addresses of this machine, and configured names. `Clone` is cheap.
#[derive(Clone)]
pub struct AllowedHosts {
    names: Arc<[HostName]>,
    setting: Arc<str>,
}

impl AllowedHosts {
    /// Adds `names` to those of this machine. `setting` is the setting to which an operator adds a
    /// name; the message of a refusal names it.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = HostName>, setting: &str) -> Self {
        Self {
            names: names.into_iter().collect(),
            setting: setting.into(),
        }
    }

    /// Adds one name.
    #[must_use]
    pub fn and(self, name: HostName) -> Self {
        let names = self.names.iter().cloned().chain([name]).collect();
        Self { names, ..self }
    }

    /// Refuses a request for another host. A request without `Host` does not come from a browser
    /// and is served.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let Some(host) = hosts.next() else {
            return Ok(());
        };
        let is_only = hosts.next().is_none();
        if is_only && is_usual(host.as_bytes()) {
            return Ok(());
        }
        let host = host.to_str().unwrap_or_default();
        let named = Host::of_header(host).filter(|_| is_only);
        if named.is_some_and(|named| self.has(named)) {
            return Ok(());
        }
        let setting = &self.setting;
        Err(ApiError::new(
            ErrorCode::Forbidden,
            format!(
                "no token is set on this server, so a request must name it as localhost, by an \
                 address or the hostname of its machine, or by a name in {setting}, not as {:?}",
                echo(host)
            ),
        ))
    }

    fn has(&self, host: Host<&str>) -> bool {
        let is_own = match host {
            Host::Name(name) => is_localhost(name),
            Host::Address(address) => is_here(address),
        };
        is_own
            || self.names.iter().any(|known| match (&known.0, host) {
                (Host::Name(known), Host::Name(name)) => known.eq_ignore_ascii_case(name),
                (Host::Address(known), Host::Address(address)) => *known == address,
                _ => false,
            })
    }
}

impl fmt::Debug for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.iter()).finish()
    }
}

/// Whether a `Host` header is one of those that local programs send, without parsing it.
fn is_usual(host: &[u8]) -> bool {
    let rest = host
        .strip_prefix(b"localhost")
        .or_else(|| host.strip_prefix(b"127.0.0.1"));
    rest.is_some_and(|rest| match rest {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    })
}

fn is_localhost(name: &str) -> bool {
    let below = name.len().checked_sub(LOCALHOST.len());
    below
        .and_then(|at| name.split_at_checked(at))
        .is_some_and(|(below, last)| {
            last.eq_ignore_ascii_case(LOCALHOST) && (below.is_empty() || below.ends_with('.'))
        })
}

/// Whether `address` belongs to this machine: then it can be bound. The kernel is asked only about
/// addresses that are not loopback, and nothing is sent. If the kernel cannot tell (no free
/// descriptor, or the address needs a scope), the address is allowed: a page cannot redirect an
/// address as it can a name.
fn is_here(address: IpAddr) -> bool {
    let is_elsewhere = |error: &io::Error| error.kind() == io::ErrorKind::AddrNotAvailable;
    let bound = || UdpSocket::bind((address, 0));
    address.is_loopback()
        || !address.is_multicast() && !bound().is_err_and(|error| is_elsewhere(&error))
}

fn echo(text: &str) -> String {
    text.chars().take(MAX_ECHO_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn allowed() -> AllowedHosts {
        let names = ["gpu-1", "LLORCH.example.", "192.0.2.7", "[2001:db8::7]"];
        AllowedHosts::new(
            names.map(|name| name.parse().unwrap()),
            "DEMO_ALLOWED_HOSTS",
        )
    }

    fn check(hosts: &[&str]) -> Result<(), String> {
        let headers = hosts
            .iter()
            .map(|host| (HOST, HeaderValue::from_str(host).unwrap()))
            .collect();
        allowed().check(&headers).map_err(|error| error.to_string())
    }

    // spec: AUTH-8
    #[test]
    fn this_machine_and_configured_names_are_served() {
        for host in [
            "localhost",
            "localhost:8080",
            "LocalHost.",
            "localhost.:8080",
            "localhost:",
            "page.localhost:1",
            "127.0.0.1:8080",
            "127.8.9.10",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:80",
            // A browser that follows this name reaches this machine only.
            "0.0.0.0:8080",
            "GPU-1:8080",
            "gpu-1.",
            "llorch.example:443",
            "192.0.2.7",
            "[2001:db8:0::7]:1",
        ] {
            assert_eq!(check(&[host]), Ok(()), "{host:?}");
        }
        assert_eq!(check(&[]), Ok(()));
    }

    // spec: AUTH-8
    #[test]
    fn a_refusal_of_a_host_names_the_setting() {
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "notlocalhost",
            "gpu-1.evil.example",
            "evil.gpu-1",
            "localhost..",
            "localhost@evil.example",
            "localhost/.localhost",
            "localhost:80:80",
            "localhost:x",
            "",
            ".",
            ":8080",
            "192.0.2.8",
            "224.0.0.1",
            "[2001:db8::8]",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[localhost]",
            "::1",
            "127.1",
            "2130706433",
        ] {
            let refusal = check(&[host]).unwrap_err();
            assert!(
                refusal.contains("DEMO_ALLOWED_HOSTS"),
                "{host:?}: {refusal}"
            );
        }
        assert!(check(&["localhost", "localhost"]).is_err());
    }

    // spec: CONF-8
    #[test]
    fn a_name_has_no_scheme_and_no_port() {
        for wrong in [
            "",
            ".",
            "http://llorch.example",
            "llorch.example:8080",
            "[llorch.example]",
            "[::1]:8080",
            "*.example",
            "a b",
            "a/b",
        ] {
            let error = HostName::from_str(wrong).unwrap_err();
            assert!(
                error.to_string().starts_with("must be a host name"),
                "{wrong:?}"
            );
        }
        let (long, too_long) = ("x".repeat(MAX_NAME_BYTES), "x".repeat(MAX_NAME_BYTES + 1));
        assert!(HostName::from_str(&long).is_ok() && HostName::from_str(&too_long).is_err());
    }
}
