//! The URL at which nodes reach this control plane, for the line that makes a machine join.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use node_ca::Host;
use pool_registry_types::HttpUrl;

/// Documentation addresses of RFC 5737 and RFC 3849: a route to them is the default route.
const BEYOND: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        9,
    ),
];

/// The URL of a control plane that listens at `listen`, or `None` if other machines cannot reach it
/// or its address is unknown. `certified` are the hosts of the certificate that it presents, if it
/// has TLS.
#[must_use]
pub fn own_url(listen: SocketAddr, certified: Option<&[Host]>) -> Option<HttpUrl> {
    choose(listen, certified, outward_address)
}

fn choose(
    listen: SocketAddr,
    certified: Option<&[Host]>,
    outward: impl FnOnce() -> Option<IpAddr>,
) -> Option<HttpUrl> {
    if listen.ip().is_loopback() || listen.port() == 0 {
        return None;
    }
    let own = if listen.ip().is_unspecified() {
        outward()
    } else {
        Some(listen.ip())
    };
    let own = own.map(|ip| ip.to_string());
    let Some(certified) = certified else {
        return url("http", &own?, listen.port());
    };
    // A client demands that the certificate has the host that it asks for.
    let certified: Vec<String> = certified.iter().map(Host::to_string).collect();
    let host = own
        .filter(|own| certified.contains(own))
        .or_else(|| certified.into_iter().find(|host| !is_local(host)))?;
    url("https", &host, listen.port())
}

fn is_local(host: &str) -> bool {
    let ip = host.parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

fn url(scheme: &str, host: &str, port: u16) -> Option<HttpUrl> {
    let host = match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host.to_owned(),
    };
    format!("{scheme}://{host}:{port}").parse().ok()
}

/// The address of this machine on its default route. No packet is sent.
fn outward_address() -> Option<IpAddr> {
    BEYOND.into_iter().find_map(|beyond| {
        let any = if beyond.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(beyond).ok()?;
        let own = socket.local_addr().ok()?.ip();
        (!own.is_loopback() && !own.is_unspecified()).then_some(own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: JOIN-37
    #[test]
    fn nodes_get_an_address_that_the_listener_has_and_the_certificate_names() {
        let named = &["localhost", "control.example", "10.0.0.7"][..];
        for (listen, certified, expected) in [
            ("127.0.0.1:8080", None, None),
            ("[::1]:8080", None, None),
            ("10.0.0.7:0", None, None),
            ("10.0.0.8:8080", None, Some("http://10.0.0.8:8080")),
            ("0.0.0.0:8080", None, Some("http://10.0.0.7:8080")),
            ("[fd00::7]:8080", None, Some("http://[fd00::7]:8080")),
            ("0.0.0.0:8080", Some(named), Some("https://10.0.0.7:8080")),
            (
                "10.0.0.8:8080",
                Some(named),
                Some("https://control.example:8080"),
            ),
            ("0.0.0.0:8080", Some(&["localhost", "127.0.0.1"][..]), None),
        ] {
            let certified: Option<Vec<Host>> =
                certified.map(|hosts| hosts.iter().map(|host| host.parse().unwrap()).collect());
            let chosen = choose(listen.parse().unwrap(), certified.as_deref(), || {
                "10.0.0.7".parse().ok()
            });
            let chosen = chosen.map(|url| url.to_string());
            assert_eq!(chosen.as_deref(), expected, "{listen} {certified:?}");
        }
        let unknown = choose("0.0.0.0:8080".parse().unwrap(), None, || None);
        assert_eq!(unknown, None);
    }
}
