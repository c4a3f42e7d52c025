//! Which addresses are of this machine: those of its interfaces, and those of the containers behind
//! its bridges.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use pool_registry_types::HttpUrl;

/// Where Linux describes network interfaces.
const INTERFACES: &str = "/sys/class/net";

/// Whether a packet to `ip` stays on this machine.
#[must_use]
pub fn is_own(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    // Copied from `--host 0.0.0.0`; a connection to it is one to loopback.
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    interfaces().any(|(name, address, mask)| {
        address == ip || mask.is_some_and(|mask| in_subnet(ip, address, mask)) && is_bridge(&name)
    })
}

/// The addresses of this machine on its bridges to containers.
#[must_use]
pub fn bridge_addresses() -> Vec<IpAddr> {
    interfaces()
        .filter(|(name, _, _)| is_bridge(name))
        .map(|(_, address, _)| address)
        .collect()
}

/// Whether a URL leads to this machine, which has the name `hostname`. Names are not resolved: a
/// slow name server would delay every handoff, and a malicious one would redirect requests.
#[must_use]
pub fn leads_here(url: &HttpUrl, hostname: Option<&str>) -> bool {
    let host = url.host();
    match host.parse::<IpAddr>() {
        Ok(ip) => is_own(ip),
        Err(_) => {
            let is = |name: &str| host.eq_ignore_ascii_case(name);
            is("localhost") || hostname.is_some_and(is)
        }
    }
}

/// The name, address and netmask of each interface.
fn interfaces() -> impl Iterator<Item = (String, IpAddr, Option<IpAddr>)> {
    let all = getifaddrs().into_iter().flatten();
    all.filter_map(|interface| {
        let address = address_of(interface.address.as_ref()?)?;
        let mask = interface.netmask.as_ref().and_then(address_of);
        Some((interface.interface_name, address, mask))
    })
}

fn address_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|address| SocketAddr::from(std::net::SocketAddrV4::from(*address)));
    let v6 = address
        .as_sockaddr_in6()
        .map(|address| SocketAddr::from(std::net::SocketAddrV6::from(*address)));
    v4.or(v6).map(|address| address.ip())
}

fn in_subnet(ip: IpAddr, of: IpAddr, mask: IpAddr) -> bool {
    match (ip, of, mask) {
        (IpAddr::V4(ip), IpAddr::V4(of), IpAddr::V4(mask)) => {
            ip.to_bits() & mask.to_bits() == of.to_bits() & mask.to_bits()
        }
        (IpAddr::V6(ip), IpAddr::V6(of), IpAddr::V6(mask)) => {
            ip.to_bits() & mask.to_bits() == of.to_bits() & mask.to_bits()
        }
        _ => false,
    }
}

/// Whether an interface is a bridge to containers alone. A bridge with any other port leads to
/// other machines.
fn is_bridge(name: &str) -> bool {
    let bridge = Path::new(INTERFACES).join(name);
    let Ok(ports) = fs::read_dir(bridge.join("brif")) else {
        return false;
    };
    ports
        .filter_map(|port| port.ok().map(|port| port.file_name()))
        .all(|port| is_veth(&Path::new(INTERFACES).join(port)))
}

/// Whether a port is one end of a veth pair whose other end is in another network namespace: no
/// device, no tunnel, and linked to another interface.
fn is_veth(port: &Path) -> bool {
    let read = |name: &str| fs::read_to_string(port.join(name)).unwrap_or_default();
    let is_special = port.join("device").exists()
        || port.join("tun_flags").exists()
        || read("uevent").contains("DEVTYPE=");
    !is_special && !read("iflink").is_empty() && read("iflink") != read("ifindex")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn loopback_and_documentation_addresses() {
        for (ip, expected) in [
            ("127.0.0.1", true),
            ("127.3.2.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", true),
            // Addresses for documentation (RFC 5737, 3849).
            ("192.0.2.1", false),
            ("2001:db8::1", false),
            ("224.0.0.1", false),
        ] {
            assert_eq!(is_own(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    /// A bridge with a container (a veth pair into another namespace), one with a tunnel, an
    /// interface of its own, and addresses that can be bound although they are of no interface.
    const NETWORKS: &str = "
        set -e
        mount -t sysfs sysfs /sys
        ip link set lo up
        echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind
        ip link add br-containers type bridge
        ip address add 10.88.0.1/16 dev br-containers
        ip link set br-containers up
        ip link add veth0 type veth peer name eth0
        ip link set veth0 master br-containers
        ip link set veth0 up
        ip link add br-lan type bridge
        ip address add 10.99.0.1/16 dev br-lan
        ip tuntap add dev tunnel0 mode tap
        ip link set tunnel0 master br-lan
        ip link add plain0 type veth peer name plain1
        ip address add 10.77.0.1/16 dev plain0
        unshare --net sleep 60 & container=$!
        own=$(readlink /proc/$$/ns/net)
        while [ \"$(readlink /proc/$container/ns/net)\" = \"$own\" ]; do :; done
        ip link set eth0 netns $container
        status=0
        INSIDE=1 \"$0\" --exact own_machine::tests::containers_behind_a_bridge_are_on_this_machine \
            --nocapture || status=$?
        kill $container
        exit $status
    ";

    // spec: HAND-20
    #[test]
    fn containers_behind_a_bridge_are_on_this_machine() {
        if std::env::var_os("INSIDE").is_some() {
            for (ip, expected) in [
                ("10.88.0.1", true),
                ("10.88.0.2", true),
                ("10.99.0.1", true),
                ("10.99.0.2", false),
                ("10.77.0.1", true),
                ("10.77.0.2", false),
                ("10.66.0.1", false),
            ] {
                assert_eq!(is_own(ip.parse().unwrap()), expected, "{ip}");
            }
            return;
        }
        let may_unshare = Command::new("unshare")
            .args([
                "--net", "--mount", "ip", "link", "add", "x", "type", "bridge",
            ])
            .status();
        if !may_unshare.is_ok_and(|status| status.success()) {
            eprintln!("not tested: this user may not create network namespaces");
            return;
        }
        let status = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", NETWORKS])
            .arg(std::env::current_exe().unwrap())
            .status();
        assert!(status.unwrap().success());
    }
}
