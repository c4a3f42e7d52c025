//! Handshakes between the two sides, in memory.

use std::{fs, path::Path};

use test_certificates::{Authority, Issued, Validity};
use tls_config::{
    ClientTls, Fingerprint, IdentityFiles, PeerCertificate, ServerFiles, ServerTls, Trust, explain,
    rustls::{
        ClientConfig, ClientConnection, Error, ServerConnection, pki_types::ServerName,
        version::TLS12,
    },
};

fn identity(directory: &Path, issued: &Issued) -> IdentityFiles {
    fs::create_dir_all(directory).unwrap();
    let files = issued.write(directory).unwrap();
    IdentityFiles {
        certificate: files.certificate,
        key: files.key,
    }
}

/// The two ends after as many rounds as a handshake takes.
fn handshake(
    server: &ServerTls,
    client: std::sync::Arc<ClientConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server.config())?;
    for _ in 0..4 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn server(directory: &Path, issued: &Issued, client_ca: Option<&Authority>) -> ServerTls {
    let client_ca = client_ca.map(|ca| {
        let file = directory.join("client-ca.pem");
        fs::write(&file, ca.certificate()).unwrap();
        file
    });
    ServerTls::load(ServerFiles {
        identity: identity(&directory.join("server"), issued),
        client_ca,
        name: None,
    })
    .unwrap()
}

fn trusting(directory: &Path, ca: &Authority) -> Trust {
    let file = directory.join("ca.pem");
    fs::write(&file, ca.certificate()).unwrap();
    Trust::CaFile(file)
}

// spec: TLS-3
#[test]
fn both_versions_are_spoken_and_http1_is_our_clients_protocol() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let server = server(directory.path(), &ca.issue(&["gpu-1"]).unwrap(), None);
    let tls = ClientTls::load(trusting(directory.path(), &ca), None).unwrap();
    let config = tls.config().unwrap();
    let (client, _) = handshake(&server, config.clone(), "gpu-1").unwrap();
    assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(format!("{:?}", client.protocol_version()), "Some(TLSv1_3)");

    let mut old = ClientConfig::builder_with_provider(config.crypto_provider().clone())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots(&ca))
        .with_no_client_auth();
    old.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (client, _) = handshake(&server, old.into(), "gpu-1").unwrap();
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(format!("{:?}", client.protocol_version()), "Some(TLSv1_2)");
}

fn roots(ca: &Authority) -> tls_config::rustls::RootCertStore {
    let mut roots = tls_config::rustls::RootCertStore::empty();
    roots.add(ca.der().to_vec().into()).unwrap();
    roots
}

// spec: TLS-4
#[test]
fn a_client_certificate_is_optional_and_is_verified() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, nodes, strangers) = (
        Authority::new().unwrap(),
        Authority::new().unwrap(),
        Authority::new().unwrap(),
    );
    let server = server(directory.path(), &ca.issue(&["cp"]).unwrap(), Some(&nodes));
    let with = |name: &str, issued: Option<Issued>| {
        let own = issued.map(|issued| identity(&directory.path().join(name), &issued));
        let tls = ClientTls::load(trusting(directory.path(), &ca), own).unwrap();
        handshake(&server, tls.config().unwrap(), "cp")
            .map(|(_, server)| PeerCertificate::of(server.peer_certificates()))
    };
    assert_eq!(with("none", None).unwrap(), None);
    let peer = with("node", Some(nodes.issue(&["gpu-1"]).unwrap())).unwrap();
    assert_eq!(peer.unwrap().names(), ["gpu-1"]);
    assert!(with("stranger", Some(strangers.issue(&["gpu-1"]).unwrap())).is_err());
}

// spec: TLS-5, TLS-6
#[test]
fn what_is_wrong_with_a_server_is_said_in_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let stranger = Authority::new().unwrap();
    let good = ca.issue(&["gpu-1"]).unwrap().followed_by(&ca);
    let server = server(directory.path(), &good, None);
    let to = |trust: Trust, name: &str| {
        let tls = ClientTls::load(trust, None).unwrap();
        handshake(&server, tls.config().unwrap(), name)
            .map(|_| ())
            .map_err(|error| explain(&error).unwrap())
    };
    let file = |ca: &Authority| trusting(directory.path(), ca);
    let pin = |ca: &Authority| Trust::Pinned(Fingerprint::of(ca.der()));
    assert_eq!(to(file(&ca), "gpu-1"), Ok(()));
    assert_eq!(to(pin(&ca), "gpu-1"), Ok(()));
    for (trust, name, expected) in [
        (file(&ca), "gpu-2", "is for another name: "),
        (pin(&ca), "gpu-2", "is for another name: "),
        (
            pin(&stranger),
            "gpu-1",
            "is of a CA that is not trusted here",
        ),
        (
            Trust::System,
            "gpu-1",
            "is of a CA that is not trusted here",
        ),
    ] {
        let error = to(trust, name).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert!(to(file(&stranger), "gpu-1").is_err());
}

// spec: TLS-5
#[test]
fn a_pinned_authority_must_be_presented_and_must_have_signed() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let stranger = Authority::new().unwrap();
    let pinned = ClientTls::load(Trust::Pinned(Fingerprint::of(ca.der())), None).unwrap();
    for issued in [
        // Without the CA's certificate.
        ca.issue(&["gpu-1"]).unwrap(),
        // Presents the CA, and is signed by another one.
        stranger.issue(&["gpu-1"]).unwrap().followed_by(&ca),
    ] {
        let server = server(directory.path(), &issued, None);
        assert!(handshake(&server, pinned.config().unwrap(), "gpu-1").is_err());
    }
}

// spec: TLS-1
#[test]
fn an_expired_client_certificate_is_refused_before_it_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let expired = ca.issue_for(&["gpu-1"], Validity::Expired).unwrap();
    let own = identity(directory.path(), &expired);
    let error = ClientTls::load(Trust::System, Some(own)).unwrap_err();
    assert!(
        error.to_string().contains("the certificate expired"),
        "{error}"
    );
}

const CONTROL_PLANE: &str = "spiffe://llorch/control-plane";

// spec: TLS-30
#[test]
fn a_server_is_the_holder_that_its_client_wants() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, public) = (Authority::new().unwrap(), Authority::new().unwrap());
    let both = directory.path().join("both.pem");
    fs::write(&both, ca.certificate() + &public.certificate()).unwrap();
    let own = ca.issue(&["me"]).unwrap().followed_by(&ca);
    let own = identity(&directory.path().join("client"), &own);
    let judge = |issuer: &Authority, names: &[&str], own: Option<&IdentityFiles>| {
        let issued = issuer.issue(&[&["host"], names].concat()).unwrap();
        let server = server(directory.path(), &issued.followed_by(issuer), None);
        let tls = ClientTls::load(Trust::CaFile(both.clone()), own.cloned()).unwrap();
        let (client, _) = handshake(&server, tls.config().unwrap(), "host").unwrap();
        assert!(tls.check_holder(client.peer_certificates()).is_ok());
        let wanting = tls.expecting(CONTROL_PLANE);
        wanting
            .check_holder(client.peer_certificates())
            .map_err(|error| explain(&error).unwrap())
    };
    for own in [None, Some(&own)] {
        assert_eq!(judge(&ca, &[CONTROL_PLANE], own), Ok(()));
        // A certificate of a public CA, or of a company's.
        assert_eq!(judge(&public, &[], own), Ok(()));
        assert_eq!(judge(&public, &["spiffe://other/web"], own), Ok(()));
        for issuer in [&ca, &public] {
            for names in [
                &["spiffe://llorch/node/evil"][..],
                &["spiffe://llorch/node/evil", CONTROL_PLANE],
                &["SPIFFE://LLORCH/control-plane"],
            ] {
                let error = judge(issuer, names, own).unwrap_err();
                assert!(error.contains("is that of "), "{error}");
                assert!(error.contains(names[0]) && error.ends_with(CONTROL_PLANE));
            }
        }
    }
    // The CA of this machine signs no certificates without a holder.
    assert_eq!(judge(&ca, &[], None), Ok(()));
    let error = judge(&ca, &[], Some(&own)).unwrap_err();
    assert!(error.contains("names no one"), "{error}");
}

// spec: TLS-30
#[test]
fn a_resumed_session_is_that_of_its_first_server() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let evil = ca.issue(&["host", "spiffe://llorch/node/evil"]).unwrap();
    let server = server(directory.path(), &evil, None);
    let tls = ClientTls::load(trusting(directory.path(), &ca), None).unwrap();
    for kind in ["Full", "Resumed"] {
        let (client, _) = handshake(&server, tls.config().unwrap(), "host").unwrap();
        assert_eq!(format!("{:?}", client.handshake_kind().unwrap()), kind);
        let victim = tls.expecting("spiffe://llorch/node/victim");
        assert!(victim.check_holder(client.peer_certificates()).is_err());
        let evil = tls.expecting("spiffe://llorch/node/evil");
        assert!(evil.check_holder(client.peer_certificates()).is_ok());
    }
}
