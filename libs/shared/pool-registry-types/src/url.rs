//! Addresses of nodes and engines: `http://host:port[/base]`, or with `https`.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

use http::uri::Authority;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    limits::MAX_URL_BYTES,
    text::{MAX_ECHO_CHARS, not_this},
};

/// The ports if the URL names none.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// A text that is not the URL of a node or an engine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be a URL such as http://192.168.1.100:9200{shown}: {reason}")]
pub struct UrlError {
    /// ", not …", unless the text may have a password or a token in it.
    shown: String,
    reason: &'static str,
}

/// The address of a node or an engine: `http://host[:port][/base]`, without user, query or
/// fragment. An address with `https` is that of a server with TLS.
///
/// ```
/// use pool_registry_types::HttpUrl;
/// let url = HttpUrl::new("http://localhost:8081/").unwrap();
/// assert_eq!((url.host(), url.port(), url.base_path()), ("localhost", 8081, ""));
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl {
    is_https: bool,
    /// In lower case (RFC 3986, section 6.2.2.1), so that equal addresses have equal bytes.
    authority: Authority,
    base_path: String,
}

impl PartialEq for HttpUrl {
    /// Compares bytes. `Authority` compares character by character, and each request looks up its
    /// engine by URL.
    fn eq(&self, other: &Self) -> bool {
        self.authority.as_str() == other.authority.as_str()
            && self.base_path == other.base_path
            && self.is_https == other.is_https
    }
}

impl Eq for HttpUrl {}

impl Hash for HttpUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_https.hash(state);
        self.authority.as_str().hash(state);
        self.base_path.hash(state);
    }
}

impl HttpUrl {
    /// Checks and splits `value`.
    ///
    /// # Errors
    /// When `value` is not of the form above; the error says which part is wrong.
    pub fn new(value: &str) -> Result<Self, UrlError> {
        let refuse = |reason| {
            Err(UrlError {
                shown: not_this(value, MAX_ECHO_CHARS),
                reason,
            })
        };
        if value.len() > MAX_URL_BYTES {
            return refuse("it is longer than 1024 bytes");
        }
        let Some((scheme, rest)) = value.split_once("://") else {
            return refuse("it has no scheme");
        };
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return refuse("the scheme is not http or https");
        }
        let (authority, path) = rest
            .find('/')
            .map_or((rest, ""), |slash| rest.split_at(slash));
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return refuse("a query or fragment has no place in it");
        }
        if authority.contains('@') {
            return refuse("a user or password has no place in it");
        }
        let Ok(authority) = authority.to_ascii_lowercase().parse::<Authority>() else {
            return refuse("the host or port is not valid");
        };
        if authority.host().trim_matches(['[', ']']).is_empty() {
            return refuse("it has no host");
        }
        // `Authority` accepts a port that no socket has, and an empty one ("host:").
        let after_host = &authority.as_str()[authority.host().len()..];
        if !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return refuse("the port is not between 1 and 65535");
        }
        let base_path = path.trim_end_matches('/');
        let well_formed = base_path.is_empty()
            || (base_path.bytes().all(is_of_path)
                && base_path.parse::<http::uri::PathAndQuery>().is_ok());
        if !well_formed || base_path.split('/').any(|part| part == "..") {
            return refuse("the path is not valid");
        }
        Ok(Self {
            is_https,
            base_path: base_path.to_owned(),
            authority,
        })
    }

    /// Whether the server has TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// The host and, if given, the port: `localhost:8081`.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The host without the brackets of an IPv6 literal.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host().trim_matches(['[', ']'])
    }

    /// The port; 80 if the URL names none, with `https` 443.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default = if self.is_https { HTTPS_PORT } else { HTTP_PORT };
        self.authority.port_u16().unwrap_or(default)
    }

    /// The path that every request begins with, without a final slash; mostly empty.
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// The same without `/v1` at its end. Requests bring their own, and base URLs of OpenAI clients
    /// end with one.
    #[must_use]
    pub fn without_api_version(self) -> Self {
        match self.base_path.strip_suffix("/v1") {
            Some(rest) => Self {
                base_path: rest.to_owned(),
                ..self
            },
            None => self,
        }
    }

    /// The address of a socket without TLS on the same machine that listens on `bound`, for clients
    /// that reach this URL. `None` if that socket is on loopback and such a client may be
    /// elsewhere.
    ///
    /// ```
    /// use pool_registry_types::HttpUrl;
    /// let url = HttpUrl::new("http://gpu-1:9200/base").unwrap();
    /// let beside = |bound: &str| url.beside(bound.parse().unwrap()).map(|url| url.to_string());
    /// assert_eq!(beside("0.0.0.0:9201").as_deref(), Some("http://gpu-1:9201"));
    /// assert_eq!(beside("10.0.0.7:9201").as_deref(), Some("http://10.0.0.7:9201"));
    /// assert_eq!(beside("127.0.0.1:9201"), None);
    /// ```
    #[must_use]
    pub fn beside(&self, bound: SocketAddr) -> Option<Self> {
        let ip = bound.ip();
        if ip.is_unspecified() {
            let (host, port) = (self.authority.host(), bound.port());
            return Self::new(&format!("http://{host}:{port}")).ok();
        }
        if ip.is_loopback() && !self.is_loopback() {
            return None;
        }
        Self::new(&format!("http://{bound}")).ok()
    }

    /// Whether the URL itself names this machine.
    fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Whether a byte may be in a path (RFC 3986, section 3.3). `@` is left out: a base path needs
/// none, and it looks like a user.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:/".contains(&byte)
}

impl TryFrom<String> for HttpUrl {
    type Error = UrlError;

    fn try_from(value: String) -> Result<Self, UrlError> {
        Self::new(&value)
    }
}

impl std::str::FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(value: &str) -> Result<Self, UrlError> {
        Self::new(value)
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> String {
        url.to_string()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme(),
            self.authority,
            self.base_path
        )
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split() {
        for (text, host, port, base, shown) in [
            (
                "http://localhost:8081",
                "localhost",
                8081,
                "",
                "http://localhost:8081",
            ),
            (
                "HTTP://192.168.1.100:9200/",
                "192.168.1.100",
                9200,
                "",
                "http://192.168.1.100:9200",
            ),
            (
                "http://gpu-1.example",
                "gpu-1.example",
                80,
                "",
                "http://gpu-1.example",
            ),
            (
                "http://GPU-1.Example/Base",
                "gpu-1.example",
                80,
                "/Base",
                "http://gpu-1.example/Base",
            ),
            (
                "http://[::1]:8081/engine/",
                "::1",
                8081,
                "/engine",
                "http://[::1]:8081/engine",
            ),
        ] {
            let url = HttpUrl::new(text).unwrap();
            assert_eq!(
                (url.host(), url.port(), url.base_path()),
                (host, port, base),
                "{text}"
            );
            assert_eq!(url.to_string(), shown);
        }
    }

    // spec: SEE-16
    #[test]
    fn another_socket_of_its_machine_is_found() {
        for (url, bound, beside) in [
            (
                "http://gpu-1:9200/base",
                "0.0.0.0:1",
                Some("http://gpu-1:1"),
            ),
            (
                "http://[fd00::1]:9200",
                "[::]:1",
                Some("http://[fd00::1]:1"),
            ),
            (
                "http://gpu-1:9200",
                "[fd00::2]:1",
                Some("http://[fd00::2]:1"),
            ),
            ("http://gpu-1:9200", "127.0.0.1:1", None),
            ("http://gpu-1:9200", "[::1]:1", None),
            (
                "http://LocalHost:9200",
                "127.0.0.1:1",
                Some("http://127.0.0.1:1"),
            ),
            ("http://127.0.0.1:9200", "[::1]:1", Some("http://[::1]:1")),
            (
                "http://[::1]:9200",
                "127.0.0.1:1",
                Some("http://127.0.0.1:1"),
            ),
            // Not bound yet.
            ("http://gpu-1:9200", "0.0.0.0:0", None),
        ] {
            let found = HttpUrl::new(url).unwrap().beside(bound.parse().unwrap());
            assert_eq!(
                found.map(|url| url.to_string()).as_deref(),
                beside,
                "{url} {bound}"
            );
        }
    }

    // spec: WIRE-27
    #[test]
    fn an_error_names_the_invalid_part() {
        for (text, reason) in [
            ("", "no scheme"),
            ("localhost:8081", "no scheme"),
            ("file:///etc/passwd", "scheme is not http"),
            ("http://", "host"),
            ("http://:8081", "host"),
            ("http://localhost:", "port"),
            ("http://localhost:0", "port"),
            ("http://localhost:99999", "port"),
            ("http://user:pw@localhost:1", "user or password"),
            ("http://localhost:1/?q=1", "query"),
            ("http://localhost:1/a/../b", "path"),
            (r"http://localhost:1/\@x", "path"),
            (r"http://localhost:1/\x", "path"),
            ("http://localhost:1/@x", "path"),
            ("http://localhost:1/{x}", "path"),
            ("http://localhost:1/\u{e9}", "path"),
            ("http://localhost:1/\u{9b}31m", "path"),
            ("http://local host:1", "host or port"),
            ("http://local\nhost:1", "host or port"),
        ] {
            let error = HttpUrl::new(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert!(HttpUrl::new(&format!("http://{}", "a".repeat(2000))).is_err());
    }

    // spec: WIRE-28
    #[test]
    fn no_error_repeats_a_password_or_a_query() {
        let long = format!("http://u:SECRET@{}", "a".repeat(2000));
        for text in [
            "http://u:SECRET@10.0.0.1:1",
            "http://SECRET@10.0.0.1",
            "u:SECRET@10.0.0.1",
            "ftp://u:SECRET@10.0.0.1",
            "http://u:SEC/RET@10.0.0.1",
            "http://10.0.0.1:1/?api_key=SECRET",
            "http://10.0.0.1:1?api_key=SECRET",
            "http://10.0.0.1:99999/?api_key=SECRET",
            "http://10.0.0.1:1/#SECRET",
            r"http://u:SECRET\@10.0.0.1",
            &long,
        ] {
            let error = HttpUrl::new(text).unwrap_err().to_string();
            assert!(!error.contains("SEC") && !error.contains("RET"), "{error}");
            assert!(error.starts_with("must be a URL such as "), "{error}");
        }
        // Otherwise the text is shown.
        let error = HttpUrl::new("localhost:8081").unwrap_err().to_string();
        assert!(error.contains(r#"not "localhost:8081": it has no scheme"#));
    }
}
