//! Headers that mean one connection only, and so end at this hop.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ALT_SVC, CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

/// RFC 9110, section 7.6.1, and the older names that clients still send. `Alt-Svc` names other
/// addresses of the upstream, which a client behind this hop cannot reach or should not.
const HOP_BY_HOP: [HeaderName; 12] = [
    ALT_SVC,
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a header always means one connection only.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// The headers that a request's `Connection` names beside those that are hop-by-hop in any case.
pub(crate) fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers
        .get_all(CONNECTION)
        .iter()
        .map(HeaderValue::as_bytes);
    values.flat_map(named_by).collect()
}

/// Those that one value of `Connection` names.
fn named_by(value: &[u8]) -> impl Iterator<Item = HeaderName> {
    str::from_utf8(value)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        // What nearly everybody says, and no header.
        .filter(|option| {
            !option.eq_ignore_ascii_case("keep-alive") && !option.eq_ignore_ascii_case("close")
        })
        .filter_map(|name| name.parse().ok())
}

/// Headers that end here, met one by one in an answer: `llama-server` sends one with each.
#[derive(Debug, Default)]
pub(crate) struct EndsHere(Vec<HeaderName>);

impl EndsHere {
    /// Whether this one does, in any case.
    pub(crate) fn meet(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        if *name == CONNECTION {
            self.0.extend(named_by(value));
        }
        is_hop_by_hop(name)
    }

    /// Removes those that `Connection` has named.
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
    fn keeps_what_is_meant_for_the_other_end() {
        let mut headers = HeaderMap::new();
        let mut ends_here = EndsHere::default();
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
            if !ends_here.meet(&name, value.as_bytes()) {
                headers.append(name, HeaderValue::from_static(value));
            }
        }
        ends_here.remove_named(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "x-session-id"]);
    }
}
