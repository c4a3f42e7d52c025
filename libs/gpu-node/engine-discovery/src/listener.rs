//! Whether two URLs lead to the same listener of this machine.

use std::net::IpAddr;

use pool_registry_types::HttpUrl;

/// Whether two URLs of this machine lead to the same listener, as far as their texts tell: equal
/// ports, and equal hosts. `localhost` and addresses that a socket on all addresses has are equal.
#[must_use]
pub fn is_same_listener(one: &HttpUrl, other: &HttpUrl) -> bool {
    one.port() == other.port() && is_same_host(one.host(), other.host())
}

fn is_same_host(one: &str, other: &str) -> bool {
    match (ip(one), ip(other)) {
        (Some(one), Some(other)) => one == other || is_any(one) || is_any(other),
        // A name may stand for any address of this machine.
        (None, Some(ip)) | (Some(ip), None) => ip.is_loopback() || is_any(ip),
        (None, None) => true,
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    host.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn is_any(ip: IpAddr) -> bool {
    ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: FIND-9
    #[test]
    fn names_and_addresses_of_one_listener_are_equal() {
        for (one, other, expected) in [
            ("localhost:8000", "127.0.0.1:8000", true),
            ("localhost:8000", "[::1]:8000", true),
            ("0.0.0.0:8000", "127.0.0.1:8000", true),
            ("127.0.0.1:8000", "127.0.0.1:8000", true),
            ("127.0.0.1:8000", "127.0.0.1:8001", false),
            ("127.0.0.1:8000", "127.0.0.2:8000", false),
            ("127.0.0.1:8000", "10.88.0.1:8000", false),
            ("localhost:8000", "10.88.0.1:8000", false),
        ] {
            let url = |at: &str| HttpUrl::new(&format!("http://{at}")).unwrap();
            let (one, other) = (url(one), url(other));
            assert_eq!(is_same_listener(&one, &other), expected, "{one} {other}");
            assert_eq!(is_same_listener(&other, &one), expected, "{other} {one}");
        }
    }
}
