//! Which valid handoffs this node refuses, and why.

use std::net::{IpAddr, SocketAddr};

use engine_discovery::own_machine::leads_here;
use pool_registry_types::{Handoff, HttpUrl, PoolId};

/// The rules for the handoffs of a node.
#[derive(Debug, Default)]
pub(crate) struct HandoffFilter {
    /// The only pools that may have engines; `None` when any may.
    pub(crate) only_pools: Option<Vec<PoolId>>,
    pub(crate) hostname: Option<String>,
    /// Where this process itself listens.
    pub(crate) own_addresses: Vec<SocketAddr>,
}

impl HandoffFilter {
    /// Returns the reason for which a handoff is refused.
    pub(crate) fn check(&self, handoff: &Handoff) -> Result<(), String> {
        let url = &handoff.url;
        if let Some(only) = &self.only_pools
            && !only.contains(&handoff.pool_id)
        {
            let named: Vec<&str> = only.iter().map(PoolId::as_str).collect();
            return Err(format!(
                "pool_id must be one of the configured pools ({}), not {}",
                named.join(", "),
                handoff.pool_id
            ));
        }
        if !leads_here(url, self.hostname.as_deref()) {
            return Err(format!(
                "url must lead to this machine, for example http://127.0.0.1:{}, not {url}; of an \
                 engine in a container, publish its port on 127.0.0.1, or name the address of the \
                 container",
                url.port(),
            ));
        }
        if leads_to(url, &self.own_addresses) {
            return Err(format!(
                "url must lead to an engine, not to this process, which listens at {url} itself"
            ));
        }
        Ok(())
    }
}

/// Whether a URL of this machine leads to one of `addresses`. A name may stand for any address of
/// the machine.
fn leads_to(url: &HttpUrl, addresses: &[SocketAddr]) -> bool {
    let ip = url.host().parse::<IpAddr>().ok();
    addresses
        .iter()
        .filter(|address| address.port() == url.port())
        .any(|address| {
            ip.is_none_or(|ip| {
                let listens = address.ip();
                ip.is_unspecified()
                    || listens.is_unspecified()
                    || ip.to_canonical() == listens.to_canonical()
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(authority: &str) -> HttpUrl {
        HttpUrl::new(&format!("http://{authority}")).unwrap()
    }

    #[test]
    fn only_urls_of_this_machine_are_accepted() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.3.2.1", true),
            ("[::1]", true),
            // Copied from `--host 0.0.0.0`.
            ("0.0.0.0", true),
            ("gpu-1", true),
            ("gpu-2", false),
            ("gpu-1.example", false),
            ("localhost.example", false),
            // Addresses for documentation (RFC 5737, 3849).
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
            ("224.0.0.1", false),
        ] {
            let url = url(&format!("{host}:8081"));
            assert_eq!(leads_here(&url, Some("gpu-1")), expected, "{host}");
        }
    }

    // spec: HAND-18
    #[test]
    fn urls_of_the_listeners_of_this_process_are_recognised() {
        for (authority, address, expected) in [
            ("localhost:8080", "127.0.0.1:8080", true),
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("127.0.0.1:8080", "0.0.0.0:8080", true),
            ("[::1]:8080", "[::]:8080", true),
            ("127.0.0.1:8080", "[::]:8080", true),
            ("127.0.0.1:8080", "[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", "127.0.0.1:8080", true),
            ("gpu-1:8080", "10.0.0.7:8080", true),
            ("localhost", "127.0.0.1:80", true),
            ("127.0.0.1:8081", "127.0.0.1:8080", false),
            // Another address of the machine can have an engine at the same port.
            ("127.0.0.2:8080", "127.0.0.1:8080", false),
            ("127.0.0.1:8080", "10.0.0.7:8080", false),
        ] {
            let found = leads_to(&url(authority), &[address.parse().unwrap()]);
            assert_eq!(found, expected, "{authority} {address}");
        }
        assert!(!leads_to(&url("127.0.0.1:8080"), &[]));
    }
}
