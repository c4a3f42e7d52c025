//! Clocks of nodes that differ from that of the control plane.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use node_ca::{CA_FILE, CaDirectory};
use tls_config::{
    ClientTls, ServerFiles, ServerTls, Trust, explain,
    rustls::{
        ClientConfig, ClientConnection, Error, ServerConnection,
        pki_types::{ServerName, UnixTime},
        time_provider::TimeProvider,
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The clock of a node.
#[derive(Debug)]
struct Clock(SystemTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.duration_since(UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// What a client makes of the certificate of `server`.
fn verify(server: &ServerTls, config: ClientConfig) -> Result<(), Error> {
    let name = ServerName::try_from("control.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut server = ServerConnection::new(server.config())?;
    let (mut hello, mut answer) = (Vec::new(), Vec::new());
    client.write_tls(&mut hello).unwrap();
    server.read_tls(&mut hello.as_slice()).unwrap();
    server.process_new_packets()?;
    while server.wants_write() {
        server.write_tls(&mut answer).unwrap();
    }
    let mut rest = answer.as_slice();
    while !rest.is_empty() {
        client.read_tls(&mut rest).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking());
    Ok(())
}

// spec: JOIN-6
#[test]
fn a_clock_that_is_off_by_an_hour_is_named_where_it_matters() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let host = "control.example".parse().unwrap();
    CaDirectory::init(directory.path(), &[host], now).unwrap();
    let ca = CaDirectory::open(directory.path()).unwrap();
    let server = ServerTls::load(ServerFiles {
        identity: ca.server(),
        client_ca: None,
        name: None,
    });
    let server = server.unwrap();
    let trust = Trust::CaFile(directory.path().join(CA_FILE));
    let tls = ClientTls::load(trust, None).unwrap();
    for (clock, expected) in [
        (now, None),
        (now - 9 * MINUTE, None),
        (
            now - HOUR,
            Some("is not valid yet, or the clock of this machine is wrong"),
        ),
        (now + HOUR, None),
        (
            now + 2 * YEAR,
            Some("has expired, or the clock of this machine is wrong"),
        ),
    ] {
        let mut config = ClientConfig::clone(&*tls.config().unwrap());
        config.time_provider = Arc::new(Clock(clock));
        let error = verify(&server, config).err();
        let told = error.map(|error| explain(&error).unwrap());
        match (&told, expected) {
            (None, None) => {}
            (Some(told), Some(expected)) => assert!(told.ends_with(expected), "{told}"),
            _ => panic!("{clock:?}: {told:?}, and not {expected:?}"),
        }
    }
}
