//! Headers that concern one connection only (RFC 9110, section 7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header::CONNECTION};

/// Whether a header always concerns one connection only.
///
/// These are the headers of RFC 9110, section 7.6.1, and older names that clients still send.
/// `Alt-Svc` names other addresses of the upstream, which a client behind a gateway cannot or
/// should not reach.
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    // Literals, because most comparisons then end at the length. Each header of each message
    // comes here.
    matches!(
        name.as_str(),
        "alt-svc"
            | "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The headers that `Connection` names, besides those that are hop-by-hop in any case.
#[must_use]
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers
        .get_all(CONNECTION)
        .iter()
        .map(HeaderValue::as_bytes);
    values.flat_map(named_by).collect()
}

/// The headers that one value of `Connection` names.
fn named_by(value: &[u8]) -> impl Iterator<Item = HeaderName> {
    str::from_utf8(value)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        // Common options that are not header names.
        .filter(|option| {
            !option.eq_ignore_ascii_case("keep-alive") && !option.eq_ignore_ascii_case("close")
        })
        .filter_map(|name| name.parse().ok())
}

/// Finds the hop-by-hop headers of a response while its head is parsed.
#[derive(Debug, Default)]
pub(crate) struct HopByHop(Vec<HeaderName>);

impl HopByHop {
    /// Whether this header is hop-by-hop in any case. Remembers the names in `Connection`.
    pub(crate) fn contains(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        if *name == CONNECTION {
            self.0.extend(named_by(value));
        }
        is_hop_by_hop(name)
    }

    /// Removes the headers that `Connection` named.
    pub(crate) fn remove_named(self, headers: &mut HeaderMap) {
        for name in self.0 {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-14
    #[test]
    fn only_end_to_end_headers_stay() {
        let mut headers = HeaderMap::new();
        let mut hop_by_hop = HopByHop::default();
        for (name, value) in [
            ("connection", "keep-alive, x-private"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x=1"),
            ("proxy-connection", "keep-alive"),
            ("trailer", "x-sum"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("alt-svc", "h3=\":443\""),
            ("content-type", "application/json"),
            ("x-session-id", "s"),
        ] {
            let name = HeaderName::from_static(name);
            if !hop_by_hop.contains(&name, value.as_bytes()) {
                headers.append(name, HeaderValue::from_static(value));
            }
        }
        hop_by_hop.remove_named(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "x-session-id"]);
    }
}
