//! Hosts that every machine has.

use std::net::IpAddr;

/// Whether `host` means each machine itself: loopback. Several nodes and the control plane may have
/// it, and a certificate for it is of no use on another machine.
#[must_use]
pub fn is_of_every_machine(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => {
            let last = host.rsplit('.').next().unwrap_or_default();
            last.eq_ignore_ascii_case("localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: JOIN-61
    #[test]
    fn loopback_is_of_every_machine() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("localhost", true),
            ("gpu.localhost", true),
            ("10.0.0.7", false),
            ("localhost.example", false),
            ("notlocalhost", false),
            ("", false),
        ] {
            assert_eq!(is_of_every_machine(host), expected, "{host}");
        }
    }
}
