//! Where an engine may listen. No I/O.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use address_ranges::{AddressError, AddressRanges};

use crate::sockets::Listener;

/// The usual ports of engines: vLLM, llama.cpp, TGI and LocalAI, Ollama, SGLang, LM Studio,
/// llama-swap and other web servers.
pub const DEFAULT_PORTS: [u16; 7] = [8000, 8080, 8081, 11434, 30000, 1234, 5000];

/// The most ports that one search asks.
pub(crate) const MAX_CANDIDATES: usize = 64;

/// Ports below this one belong to services of the system. An engine is there only where the port
/// is named.
const FIRST_USER_PORT: u16 = 1024;

/// A place where an engine may listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The addresses that lead there; one that accepts no connection is passed over.
    pub hosts: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
    /// The port is one of those to search.
    pub is_named: bool,
    /// Identifies its socket; `None` where the port is forwarded without one.
    pub inode: Option<u64>,
    /// How many sockets listen at the same address and port. The system spreads connections over
    /// them.
    pub sockets: usize,
}

/// Chooses from `listeners` where engines may be: at `ports` on loopback, and at other ports that
/// containers may publish, on all addresses or on one of `bridges`. Leaves out `own`, where this
/// process listens itself.
#[must_use]
pub fn candidates(
    listeners: &[Listener],
    bridges: &[IpAddr],
    ports: &[u16],
    own: &[SocketAddr],
) -> Vec<Candidate> {
    let mut places: BTreeMap<(u16, IpAddr), Candidate> = BTreeMap::new();
    let counted = counted(listeners);
    for (address, (inode, sockets)) in counted {
        let (ip, port) = (address.ip(), address.port());
        let is_named = ports.contains(&port);
        let is_published = ip.is_unspecified() || bridges.contains(&ip);
        let may_be = is_named && (ip.is_loopback() || is_published)
            || is_published && port >= FIRST_USER_PORT;
        if !may_be || is_never(ip) || is_own(address, own) {
            continue;
        }
        let hosts = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
            // It takes IPv4 as well, unless it says otherwise.
            IpAddr::V6(ip) if ip.is_unspecified() => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            ip => vec![ip],
        };
        // A socket of one address comes before one of all addresses.
        let is_specific = !ip.is_unspecified();
        let Some(first) = hosts.first().copied() else {
            continue;
        };
        let candidate = Candidate {
            hosts,
            port,
            is_named,
            inode: Some(inode),
            sockets,
        };
        if is_specific {
            places.insert((port, first), candidate);
        } else {
            places.entry((port, first)).or_insert(candidate);
        }
    }
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    for port in ports {
        // The system may forward it to a container without a socket.
        let address = SocketAddr::new(localhost, *port);
        if !is_own(address, own) {
            places
                .entry((*port, localhost))
                .or_insert_with(|| Candidate {
                    hosts: vec![localhost],
                    port: *port,
                    is_named: true,
                    inode: None,
                    sockets: 0,
                });
        }
    }
    let mut all: Vec<Candidate> = places.into_values().collect();
    all.sort_by_key(|candidate| !candidate.is_named);
    all.truncate(MAX_CANDIDATES);
    all
}

/// One socket of each address, and how many there are.
fn counted(listeners: &[Listener]) -> BTreeMap<SocketAddr, (u64, usize)> {
    let mut counted = BTreeMap::new();
    for listener in listeners {
        let (ip, port) = (
            listener.address.ip().to_canonical(),
            listener.address.port(),
        );
        let place = counted
            .entry(SocketAddr::new(ip, port))
            .or_insert((listener.inode, 0));
        place.0 = listener.inode.min(place.0);
        place.1 += 1;
    }
    counted
}

/// Whether an address is link-local, of a metadata service, or otherwise never an engine's.
#[must_use]
pub fn is_never(ip: IpAddr) -> bool {
    let checked = AddressRanges::default().check(ip);
    // A socket on all addresses is asked on loopback.
    !ip.is_unspecified() && matches!(checked, Err(AddressError::Never { .. }))
}

fn is_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    own.iter().any(|own| {
        own.port() == address.port()
            && (own.ip().is_unspecified()
                || address.ip().is_unspecified()
                || own.ip().to_canonical() == address.ip().to_canonical())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, inode: u64) -> Listener {
        Listener {
            address: address.parse().unwrap(),
            inode,
        }
    }

    /// Each as `host:port`.
    fn found(listeners: &[&str], own: &[&str]) -> Vec<String> {
        let listeners: Vec<Listener> = listeners.iter().map(|at| listener(at, 7)).collect();
        let own: Vec<SocketAddr> = own.iter().map(|at| at.parse().unwrap()).collect();
        let bridges = ["10.88.0.1", "169.254.0.1"].map(|ip| ip.parse().unwrap());
        let all = candidates(&listeners, &bridges, &[8000, 8080], &own);
        let sockets = all.iter().filter(|candidate| candidate.sockets > 0);
        sockets
            .map(|candidate| SocketAddr::new(candidate.hosts[0], candidate.port).to_string())
            .collect()
    }

    // spec: FIND-5
    #[test]
    fn only_loopback_and_published_ports_are_asked() {
        for (at, expected) in [
            ("127.0.0.1:8000", Some("127.0.0.1:8000")),
            ("127.0.0.2:8000", Some("127.0.0.2:8000")),
            ("[::1]:8000", Some("[::1]:8000")),
            ("0.0.0.0:8000", Some("127.0.0.1:8000")),
            ("[::]:8000", Some("127.0.0.1:8000")),
            ("10.88.0.1:8000", Some("10.88.0.1:8000")),
            // Not a named port, but a container may publish it.
            ("0.0.0.0:9123", Some("127.0.0.1:9123")),
            ("10.88.0.1:9123", Some("10.88.0.1:9123")),
            ("127.0.0.1:9123", None),
            ("[::1]:9123", None),
            // Services of the system.
            ("0.0.0.0:22", None),
            // Other interfaces, link-local addresses and metadata services.
            ("192.168.1.7:8000", None),
            ("169.254.169.254:8000", None),
            ("169.254.0.1:8000", None),
            ("[fe80::1]:8000", None),
            ("224.0.0.1:8000", None),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(found(&[at], &[]), expected, "{at}");
        }
    }

    // spec: FIND-2
    #[test]
    fn listeners_of_this_process_are_left_out() {
        assert_eq!(found(&["127.0.0.1:8080"], &["0.0.0.0:8080"]), [""; 0]);
        assert_eq!(found(&["0.0.0.0:8080"], &["127.0.0.1:8080"]), [""; 0]);
        assert_eq!(found(&["127.0.0.2:8080"], &["127.0.0.1:8080"]).len(), 1);
        let none = candidates(&[], &[], &[8080], &["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(none, []);
    }

    // spec: FIND-5, FIND-6
    #[test]
    fn a_port_is_asked_once_and_its_sockets_are_counted() {
        let sockets = [
            listener("0.0.0.0:8000", 1),
            listener("[::]:8000", 2),
            listener("127.0.0.1:8080", 9),
            listener("127.0.0.1:8080", 8),
            listener("0.0.0.0:9000", 3),
        ];
        let all = candidates(&sockets, &[], &[8000, 8080, 1234], &[]);
        let seen: Vec<(u16, bool, Option<u64>, usize)> = all
            .iter()
            .map(|at| (at.port, at.is_named, at.inode, at.sockets))
            .collect();
        assert_eq!(
            seen,
            [
                // The system may forward it without a socket.
                (1234, true, None, 0),
                (8000, true, Some(1), 1),
                (8080, true, Some(8), 2),
                (9000, false, Some(3), 1),
            ]
        );
        let many: Vec<Listener> = (2000..9000)
            .map(|port| listener(&format!("0.0.0.0:{port}"), 1))
            .collect();
        let all = candidates(&many, &[], &[8000], &[]);
        assert_eq!((all.len(), all[0].port), (MAX_CANDIDATES, 8000));
    }
}
