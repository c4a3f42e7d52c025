//! Which handoffs this node has a use for.

use std::net::{IpAddr, UdpSocket};

use pool_registry_types::{Handoff, HttpUrl, PoolId};

/// Says why a handoff is of no use here; `only` are the pools that may have engines, when they are
/// listed.
pub(crate) fn check(
    handoff: &Handoff,
    only: Option<&[PoolId]>,
    hostname: Option<&str>,
) -> Result<(), String> {
    if let Some(only) = only
        && !only.contains(&handoff.pool_id)
    {
        let named: Vec<&str> = only.iter().map(PoolId::as_str).collect();
        return Err(format!(
            "pool_id must be one of the configured pools ({}), not {}",
            named.join(", "),
            handoff.pool_id
        ));
    }
    if !is_here(&handoff.url, hostname) {
        return Err(format!(
            "url must lead to this machine, for example http://127.0.0.1:{}, not {}",
            handoff.url.port(),
            handoff.url
        ));
    }
    Ok(())
}

/// Whether a URL leads to this machine. No name server is asked: one that is slow would hold up
/// every handoff, and one that lies would send requests elsewhere.
fn is_here(url: &HttpUrl, hostname: Option<&str>) -> bool {
    let host = url.host();
    match host.parse::<IpAddr>() {
        // The system gives a socket only an address that is its own.
        Ok(ip) => ip.is_loopback() || (!ip.is_multicast() && UdpSocket::bind((ip, 0)).is_ok()),
        Err(_) => {
            let is = |name: &str| host.eq_ignore_ascii_case(name);
            is("localhost") || hostname.is_some_and(is)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_this_machine() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.3.2.1", true),
            ("[::1]", true),
            // As `--host 0.0.0.0` is often copied.
            ("0.0.0.0", true),
            ("gpu-1", true),
            ("gpu-2", false),
            ("gpu-1.example", false),
            ("localhost.example", false),
            // Documentation's addresses (RFC 5737, 3849) are nobody's.
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
            ("224.0.0.1", false),
        ] {
            let url = HttpUrl::new(&format!("http://{host}:8081")).unwrap();
            assert_eq!(is_here(&url, Some("gpu-1")), expected, "{host}");
        }
    }
}
