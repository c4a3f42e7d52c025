//! Which addresses a control plane connects to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use thiserror::Error;

/// The ranges of networks without a public address, of carriers and overlay networks, and of this
/// machine.
const DEFAULT: [Range; 7] = [
    Range::v4([10, 0, 0, 0], 8),
    Range::v4([172, 16, 0, 0], 12),
    Range::v4([192, 168, 0, 0], 16),
    Range::v4([100, 64, 0, 0], 10),
    Range::v4([127, 0, 0, 0], 8),
    Range(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    Range(Ipv6Addr::LOCALHOST, 128),
];

/// Metadata services of clouds that are not link-local: they give credentials to this machine.
const METADATA: [IpAddr; 6] = [
    // Alibaba Cloud, Azure, Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS: instances, and the pod identities of EKS. Google Cloud.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// An address range. IPv4 ranges are those of mapped addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range(Ipv6Addr, u8);

/// A text that is no address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be an address range such as 10.0.0.0/8 or fc00::/7, with zeros behind the prefix")]
pub struct RangeError;

impl Range {
    const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Self {
        Self(Ipv4Addr::new(a, b, c, d).to_ipv6_mapped(), 96 + prefix)
    }

    fn contains(self, ip: IpAddr) -> bool {
        let bits = |ip: Ipv6Addr| u128::from(ip) & mask(self.1);
        // `::/0` is about IPv6 only.
        let is_of_family = ip.is_ipv6() || self.0.to_ipv4_mapped().is_some();
        is_of_family && bits(as_v6(ip)) == bits(self.0)
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX
        .checked_shl(128 - u32::from(prefix))
        .unwrap_or_default()
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| RangeError)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            // `u8` would take "+8".
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_err(|_| RangeError)?
            }
            Some(_) => return Err(RangeError),
            None => longest,
        };
        if prefix > longest {
            return Err(RangeError);
        }
        let range = Self(as_v6(address), prefix + (128 - longest));
        // 10.0.0.7/8 may mean the address or the range.
        if u128::from(range.0) & !mask(range.1) != 0 {
            return Err(RangeError);
        }
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_ipv4_mapped() {
            Some(v4) if self.1 >= 96 => write!(f, "{v4}/{}", self.1 - 96),
            _ => write!(f, "{}/{}", self.0, self.1),
        }
    }
}

/// An address that is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Never.
    #[error("{ip} is {kind}, which no node has")]
    Never {
        /// The address.
        ip: IpAddr,
        /// What it is.
        kind: &'static str,
    },
    /// Unless a setting allows its range.
    #[error("{0} is not in the ranges that nodes may have")]
    NotAllowed(IpAddr),
}

/// The allowed ranges. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRanges(Arc<[Range]>);

impl Default for AddressRanges {
    fn default() -> Self {
        Self(Arc::new(DEFAULT))
    }
}

impl AddressRanges {
    /// These ranges in place of the default ones.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = Range>) -> Self {
        Self(ranges.into_iter().collect())
    }

    /// Whether `ip` may be connected to.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, ip: IpAddr) -> Result<(), AddressError> {
        let ip = ip.to_canonical();
        for ip in [Some(ip), inner(ip)].into_iter().flatten() {
            if let Some(kind) = never(ip) {
                return Err(AddressError::Never { ip, kind });
            }
        }
        if self.0.iter().any(|range| range.contains(ip)) {
            return Ok(());
        }
        Err(AddressError::NotAllowed(ip))
    }

    /// The same for the host of a URL. A name is judged when it is resolved.
    ///
    /// # Errors
    /// When the host is an address that is not allowed.
    pub fn check_host(&self, host: &str) -> Result<(), AddressError> {
        host.parse().map_or(Ok(()), |ip| self.check(ip))
    }
}

/// What an address is that is never allowed.
fn never(ip: IpAddr) -> Option<&'static str> {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if METADATA.contains(&ip) {
        Some("a metadata service")
    } else if is_link_local {
        Some("link-local")
    } else if ip.is_multicast() {
        Some("multicast")
    } else if ip.is_unspecified() || matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0) {
        Some("unspecified")
    } else if matches!(ip, IpAddr::V4(ip) if ip.is_broadcast()) {
        Some("broadcast")
    } else {
        None
    }
}

/// The IPv4 address inside an IPv6 address, to which a gateway may pass a connection.
fn inner(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else {
        return None;
    };
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // Loopback and unspecified have no inner address.
        [0, 0, 0, 0, 0, 0, 0, _] => None,
        // IPv4-compatible, and NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(v4(high, low).into())
        }
        // NAT64 of a network (RFC 8215).
        [0x64, 0xff9b, 1, _, _, _, high, low] => Some(v4(high, low).into()),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(v4(high, low).into()),
        _ => None,
    }
}

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn all() -> AddressRanges {
        AddressRanges::new([Range::v4([0, 0, 0, 0], 0), Range(Ipv6Addr::UNSPECIFIED, 0)])
    }

    // spec: JOIN-40
    #[test]
    fn private_addresses_are_allowed_and_public_ones_are_not() {
        let ranges = AddressRanges::default();
        for allowed in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.7",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "fd00::7",
            "fc00::1",
            "::ffff:10.0.0.7",
        ] {
            assert_eq!(ranges.check(ip(allowed)), Ok(()), "{allowed}");
            assert_eq!(ranges.check_host(allowed), Ok(()), "{allowed}");
        }
        for public in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            let error = ranges.check(ip(public)).unwrap_err();
            assert!(
                matches!(error, AddressError::NotAllowed(_)),
                "{public} {error}"
            );
            assert_eq!(all().check(ip(public)), Ok(()), "{public}");
        }
        assert_eq!(ranges.check_host("gpu-1.example"), Ok(()));
    }

    // spec: JOIN-41
    #[test]
    fn some_addresses_are_never_allowed() {
        for (never, kind) in [
            ("169.254.169.254", "link-local"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::169.254.169.254", "link-local"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("64:ff9b:1::a9fe:a9fe", "link-local"),
            ("2002:a9fe:a9fe::1", "link-local"),
            ("fe80::1", "link-local"),
            ("100.100.100.200", "a metadata service"),
            ("fd00:ec2::254", "a metadata service"),
            ("fd00:ec2::23", "a metadata service"),
            ("fd20:ce::254", "a metadata service"),
            ("168.63.129.16", "a metadata service"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("::", "unspecified"),
            ("255.255.255.255", "broadcast"),
        ] {
            for ranges in [AddressRanges::default(), all()] {
                let error = ranges.check(ip(never)).unwrap_err().to_string();
                assert!(error.contains(kind), "{never}: {error}");
            }
        }
    }

    // spec: JOIN-42
    #[test]
    fn ranges_are_read_as_people_write_them() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            (" fc00::/7 ", "fc00::/7"),
            ("203.0.113.7", "203.0.113.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(text.parse::<Range>().unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.7/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10/8",
            "fc00::/129",
            "example.com",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(wrong.parse::<Range>(), Err(RangeError), "{wrong}");
        }
    }

    proptest! {
        // spec: JOIN-42
        #[test]
        fn a_range_is_what_its_prefix_says(bits: u32, prefix in 0_u8..=32, other: u32) {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let base = Ipv4Addr::from(bits & mask);
            let range: Range = format!("{base}/{prefix}").parse().unwrap();
            let other_ip = IpAddr::V4(other.into());
            prop_assert_eq!(range.contains(other_ip), other & mask == bits & mask);
        }
    }
}
