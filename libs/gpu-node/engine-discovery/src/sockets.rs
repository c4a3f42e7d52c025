//! The listening sockets of this machine, from the tables of Linux.

use std::{
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The tables, one for each version of IP. A sandbox may hide `/proc/net` itself.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// How much of a table is read. A line has about 150 bytes, and the listening sockets come first.
pub(crate) const MAX_SOCKET_TABLE_BYTES: u64 = 1024 * 1024;

/// The most listening sockets that are looked at.
pub(crate) const MAX_LISTENERS: usize = 4096;

/// The state of a socket that listens, in the tables.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Identifies the socket while it exists.
    pub inode: u64,
}

/// The listening sockets of this network namespace. A table that cannot be read has none.
#[must_use]
pub fn listeners() -> Vec<Listener> {
    let tables = TABLES.into_iter().map(|path| {
        let mut text = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(MAX_SOCKET_TABLE_BYTES).read_to_end(&mut text));
        // What was read before an error counts.
        drop(read);
        String::from_utf8_lossy(&text).into_owned()
    });
    parse_listeners(tables.collect::<Vec<_>>().iter().map(String::as_str))
}

/// The listening sockets in tables in the format of `/proc/net/tcp`. Other lines are left out.
pub fn parse_listeners<'a>(tables: impl IntoIterator<Item = &'a str>) -> Vec<Listener> {
    let lines = tables.into_iter().flat_map(str::lines);
    lines.filter_map(listener).take(MAX_LISTENERS).collect()
}

/// `  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 12345 …`
fn listener(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let address = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    (state == LISTEN).then_some(())?;
    let (ip, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = SocketAddr::new(ip_of(ip)?, port);
    Some(Listener { address, inode })
}

/// The kernel prints each 32 bits of an address as a number of this machine.
fn ip_of(hex: &str) -> Option<IpAddr> {
    if !hex.is_ascii() {
        return None;
    }
    let words: Option<Vec<[u8; 4]>> = hex
        .as_bytes()
        .chunks(8)
        .map(|word| {
            let word = str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
            u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
        })
        .collect();
    match *words?.as_slice() {
        [v4] => Some(Ipv4Addr::from(v4).into()),
        [a, b, c, d] => {
            let octets: [u8; 16] = [a, b, c, d].concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Lines of a little-endian machine.
    const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n \
        0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 00000000  1000        0 4711 1 0 100 0 0 10 0\n \
        1: 0100007F:1F91 0100007F:9C40 01 0:0 00:0 00000000  1000        0 4712 1 0 100 0 0 10 0\n \
        2: 00000000:2CAA 00000000:0000 0A 0:0 00:0 00000000     0        0 4713 1 0 100 0 0 10 0\n";

    const V6: &str = "  0: 00000000000000000000000001000000:1F90 \
        00000000000000000000000000000000:0000 0A 0:0 00:0 00000000 0 0 99 1\n  \
        1: 0000000000000000FFFF00000100007F:0050 \
        00000000000000000000000000000000:0000 0A 0:0 00:0 00000000 0 0 98 1\n";

    // spec: FIND-7
    #[test]
    #[cfg(target_endian = "little")]
    fn the_tables_of_linux_are_read() {
        let found = parse_listeners([V4, V6]);
        let expected = [
            ("127.0.0.1:8080", 4711),
            ("0.0.0.0:11434", 4713),
            ("[::1]:8080", 99),
            ("127.0.0.1:80", 98),
        ];
        let expected = expected.map(|(address, inode)| Listener {
            address: address.parse().unwrap(),
            inode,
        });
        assert_eq!(found, expected);
    }

    // spec: FIND-7
    #[test]
    fn other_texts_have_no_sockets_and_a_long_one_is_cut() {
        for text in [
            "",
            "\n",
            "0: :: :: 0A",
            "0: zz:zz 0:0 0A 0:0 0:0 0 0 0 1",
            "0: ÄÄÄÄ:1F90 0:0 0A 0:0 0:0 0 0 0 1",
            "0: 0100007F01:1F90 0:0 0A 0:0 0:0 0 0 0 1",
            "0: 0100007F:1F9000 0:0 0A 0:0 0:0 0 0 0 1",
            "0: 0100007F:1F90 0:0 0A 0:0 0:0 0 0 0 x",
        ] {
            assert_eq!(parse_listeners([text]), [], "{text:?}");
        }
        let line = "0: 0100007F:1F90 0:0 0A 0:0 0:0 0 0 0 1\n";
        assert_eq!(parse_listeners([line]).len(), 1);
        let long = line.repeat(MAX_LISTENERS + 10);
        assert_eq!(parse_listeners([long.as_str()]).len(), MAX_LISTENERS);
    }

    // spec: FIND-7
    #[test]
    fn a_socket_of_this_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listeners().iter().any(|found| found.address == address));
    }
}
