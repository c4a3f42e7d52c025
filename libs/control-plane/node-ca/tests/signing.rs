//! What is signed, what is refused, and the files of a CA.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod requests;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use node_ca::{CA_FILE, CaDirectory, CaError, Host, KEY_FILE, Period, SERVER_FILE, SignError};
use pool_registry_types::{NodeId, PemText};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SanType,
};
use tls_config::IdentityFiles;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn ca(directory: &Path) -> CaDirectory {
    let hosts = [host("control.example"), host("10.0.0.1")];
    CaDirectory::init(directory, &hosts, SystemTime::now()).unwrap();
    CaDirectory::open(directory).unwrap()
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn node() -> NodeId {
    "gpu-1".parse().unwrap()
}

fn csr_with(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> PemText {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://llorch/node/gpu-1")];
    change(&mut params);
    pem(&params.serialize_request(key).unwrap().pem().unwrap())
}

fn pem(text: &str) -> PemText {
    PemText::new(text).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn csr(change: impl FnOnce(&mut CertificateParams)) -> PemText {
    csr_with(&KeyPair::generate().unwrap(), change)
}

fn period() -> Period {
    Period::from(SystemTime::now(), 30 * DAY)
}

/// Writes a certificate and its key, and reads them as a daemon does.
fn read_back(directory: &Path, certificate: &str, key: &KeyPair) -> IdentityFiles {
    let file = directory.join("node.pem");
    fs::write(&file, format!("{certificate}{}", key.serialize_pem())).unwrap();
    IdentityFiles::in_one(file)
}

// spec: JOIN-3, JOIN-4
#[test]
fn a_request_gets_the_names_of_its_node_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let ca = ca(directory.path());
    for key in [
        KeyPair::generate().unwrap(),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&PKCS_ED25519).unwrap(),
    ] {
        let csr = csr_with(&key, |_| ());
        let now = SystemTime::now();
        let signed = ca
            .authority()
            .sign(&csr, &node(), &[host("10.0.0.7")], period())
            .unwrap();
        let files = read_back(directory.path(), &signed, &key);
        let names = files.names().unwrap();
        assert_eq!(names, ["spiffe://llorch/node/gpu-1", "10.0.0.7"]);
        let validity = files.validity().unwrap();
        assert!(validity.not_before < now && now + 29 * DAY < validity.not_after);
        let renew = validity.renew_at();
        assert!(now + 19 * DAY < renew && renew < now + 21 * DAY);
        // It is a leaf, and its key fits.
        let error = files.check_ca().unwrap_err().to_string();
        assert!(error.contains("not that of a CA"), "{error}");
    }
}

// spec: JOIN-4
#[test]
fn a_wrong_request_is_refused_with_the_field() {
    let directory = tempfile::tempdir().unwrap();
    let ca = ca(directory.path());
    let sign = |csr: &PemText| {
        let signed = ca
            .authority()
            .sign(csr, &node(), &[host("10.0.0.7")], period());
        let error = signed.unwrap_err();
        assert!(error.is_of_request());
        let text = error.to_string();
        assert!(text.starts_with("csr: "), "{text}");
        error
    };
    let own = csr(|_| ());
    // Another key's signature: the last bytes are in the line before the end.
    let mut lines: Vec<&str> = own.as_str().lines().collect();
    let other = csr(|_| ());
    let at = lines.len() - 2;
    lines[at] = other.as_str().lines().nth(at).unwrap();
    let forged = lines.join("\n");
    assert!(matches!(
        sign(&pem(&forged)),
        SignError::BadSignature | SignError::NotARequest(_)
    ));
    for foreign in [
        "spiffe://llorch/node/gpu-2",
        "spiffe://llorch/control-plane",
        "spiffe://llorch/node/gpu-1/x",
    ] {
        let error = sign(&csr(|params| params.subject_alt_names.push(uri(foreign))));
        assert!(matches!(error, SignError::OtherName(_)), "{error}");
    }
    let error = sign(&csr(|params| {
        let name = SanType::DnsName("control.example".try_into().unwrap());
        params.subject_alt_names.push(name);
    }));
    assert_eq!(
        error.to_string(),
        "csr: asks for the name \"control.example\"; a node gets its own id and the host of its \
         address only"
    );
    let error = sign(&csr(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }));
    assert_eq!(error, SignError::AsksForCa);
    let certificate = fs::read_to_string(directory.path().join(CA_FILE)).unwrap();
    for none in ["", "x", &own.as_str()[..300], &certificate] {
        assert!(
            matches!(sign(&pem(none)), SignError::NotARequest(_)),
            "{none}"
        );
    }
    for (request, expected) in [
        (
            requests::P521,
            "the key must be ECDSA P-256, ECDSA P-384 or Ed25519",
        ),
        (
            requests::SECP256K1,
            "the key must be ECDSA P-256, ECDSA P-384 or Ed25519",
        ),
        (
            requests::RSA,
            "the key must be ECDSA P-256, ECDSA P-384 or Ed25519",
        ),
        (
            requests::P384_WITH_SHA256,
            "an ECDSA P-384 key must sign it with SHA-384",
        ),
    ] {
        let error = sign(&pem(request)).to_string();
        assert_eq!(error, format!("csr: {expected}"));
    }
    for second in [own.as_str(), other.as_str(), &certificate] {
        let error = sign(&pem(&format!("{}{second}", own.as_str()))).to_string();
        assert!(error.contains("several sections"), "{error}");
    }
    // Old tools have another name for it.
    let old = own
        .as_str()
        .replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
    let signed = ca.authority().sign(&pem(&old), &node(), &[], period());
    assert!(signed.is_ok());
    // Its own host is no foreign name.
    let with_host = csr(|params| {
        params
            .subject_alt_names
            .push(SanType::IpAddress([10, 0, 0, 7].into()));
    });
    let signed = ca
        .authority()
        .sign(&with_host, &node(), &[host("10.0.0.7")], period());
    assert!(signed.is_ok());
}

// spec: JOIN-5
#[test]
fn a_certificate_ends_before_its_ca_and_begins_after_a_revocation() {
    let directory = tempfile::tempdir().unwrap();
    let ca = ca(directory.path());
    let sign = |period| {
        let key = KeyPair::generate().unwrap();
        let csr = csr_with(&key, |_| ());
        let signed = ca.authority().sign(&csr, &node(), &[host("h")], period)?;
        let files = read_back(directory.path(), &signed, &key);
        Ok(files.validity().unwrap())
    };
    let now = SystemTime::now();
    let error = sign(Period::from(now, 4000 * DAY)).unwrap_err();
    assert!(matches!(error, SignError::CaEnds(_)) && !error.is_of_request());
    // A short life is not backdated by more than a part of it.
    let short = sign(Period::from(now, Duration::from_secs(60))).unwrap();
    assert!(now - Duration::from_secs(8) < short.not_before);
    assert!(now < short.renew_at());
    let after = Period {
        after: Some(now),
        ..Period::from(now, DAY)
    };
    assert!(sign(after).unwrap().not_before > now - Duration::from_secs(1));
}

// spec: JOIN-1, JOIN-2
#[test]
fn the_files_of_a_ca_are_private_and_are_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("etc/ca");
    let ca = ca(&path);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for (file, expected) in [(KEY_FILE, 0o600), (SERVER_FILE, 0o600)] {
        assert_eq!(mode(&path.join(file)), expected, "{file}");
    }
    let shown: Vec<String> = ca
        .server_hosts()
        .unwrap()
        .iter()
        .map(Host::to_string)
        .collect();
    assert_eq!(shown, ["control.example", "10.0.0.1"]);
    let names = ca.server().names().unwrap();
    assert_eq!(names[0], "spiffe://llorch/control-plane");
    let error = CaDirectory::init(&path, &[], SystemTime::now()).unwrap_err();
    assert!(matches!(error, CaError::Exists(_)), "{error}");
    // Its own certificate can be renewed.
    let before = fs::read(path.join(SERVER_FILE)).unwrap();
    ca.renew_server(&[host("other")], SystemTime::now())
        .unwrap();
    assert_ne!(fs::read(path.join(SERVER_FILE)).unwrap(), before);
}

// spec: JOIN-2
#[test]
fn a_wrong_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    ca(path);
    let (certificate, key) = (path.join(CA_FILE), path.join(KEY_FILE));
    let good = [&certificate, &key].map(|file| fs::read(file).unwrap());
    let server = fs::read(path.join(SERVER_FILE)).unwrap();
    let old = SystemTime::now() - 4000 * DAY;
    let (expired, expired_key) = node_ca::CertificateAuthority::generate(old).unwrap();
    for (file, content, reason) in [
        (&certificate, &b"x"[..], "ca.pem: holds no certificate"),
        (&key, b"x", "ca.key: holds no private key"),
        (
            &key,
            expired_key.reveal().as_bytes(),
            "ca.key: the key does not belong",
        ),
        (
            &certificate,
            expired.as_bytes(),
            "ca.pem: the certificate expired at",
        ),
        (&certificate, &server, "does not belong"),
    ] {
        fs::write(file, content).unwrap();
        let error = CaDirectory::open(path).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        fs::write(&certificate, &good[0]).unwrap();
        fs::write(&key, &good[1]).unwrap();
    }
    // A certificate and key that fit, but of a server.
    fs::write(&certificate, &server).unwrap();
    fs::write(&key, &server).unwrap();
    let error = CaDirectory::open(path).unwrap_err().to_string();
    assert!(
        error.ends_with("not that of a CA (basic constraints)"),
        "{error}"
    );
    fs::remove_file(&certificate).unwrap();
    let error = CaDirectory::open(path).unwrap_err().to_string();
    assert!(error.contains("ca.pem: cannot be read"), "{error}");
}
