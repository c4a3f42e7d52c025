//! What is wrong with a file is said in one sentence that names it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use captured_log::Log;
use rustix::fs::{CWD, Mode, mkfifoat};
use test_certificates::{Authority, Issued, Validity};
use tls_config::{ClientTls, IdentityFiles, MAX_FILE_BYTES, ServerFiles, ServerTls, Trust};

const WEAK_RSA: (&str, &str) = (
    include_str!("fixtures/weak-rsa.pem"),
    include_str!("fixtures/weak-rsa.key"),
);
const SHA1: (&str, &str) = (
    include_str!("fixtures/sha1.pem"),
    include_str!("fixtures/sha1.key"),
);

fn files_in(directory: &Path, name: Option<&str>) -> ServerFiles {
    ServerFiles {
        identity: IdentityFiles {
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
        },
        client_ca: None,
        name: name.map(str::to_owned),
    }
}

/// The sentence about a certificate and a key, without the directory.
fn refusal(certificate: &str, key: &str, name: Option<&str>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let issued = Issued {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    issued.write(directory.path()).unwrap();
    let error = ServerTls::load(files_in(directory.path(), name)).unwrap_err();
    let prefix = format!("{}/", directory.path().display());
    error.to_string().replace(&prefix, "")
}

// spec: TLS-1
#[test]
fn each_bad_file_is_named_with_its_fault() {
    let ca = Authority::new().unwrap();
    let good = ca.issue(&["gpu-1", "10.0.0.7"]).unwrap();
    let other = ca.issue(&["gpu-1"]).unwrap();
    let expired = ca.issue_for(&["gpu-1"], Validity::Expired).unwrap();
    let future = ca.issue_for(&["gpu-1"], Validity::NotYet).unwrap();
    let nameless = ca.issue(&[]).unwrap();
    let two_keys = format!("{}{}", good.key, other.key);
    let cut = &good.certificate[..good.certificate.len() / 2];
    let not_base64 = good.certificate.replace("\nM", "\n*");
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let long = "x".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1);
    for (certificate, key, name, expected) in [
        (
            &*expired.certificate,
            &*expired.key,
            None,
            "certificate.pem: the certificate expired at 2020-12-31T00:00:00Z",
        ),
        (
            &future.certificate,
            &future.key,
            None,
            "certificate.pem: the certificate is not valid before 2100-01-01T00:00:00Z",
        ),
        (
            &good.certificate,
            &good.key,
            Some("gpu-2"),
            "certificate.pem: the certificate is not valid for gpu-2, only for gpu-1, 10.0.0.7",
        ),
        (
            &nameless.certificate,
            &nameless.key,
            Some("10.0.0.8"),
            "certificate.pem: the certificate is not valid for 10.0.0.8, only for nothing: it has \
             no subject alternative name",
        ),
        (
            &good.certificate,
            &other.key,
            None,
            "key.pem: the key does not belong to the certificate in certificate.pem",
        ),
        (
            WEAK_RSA.0,
            WEAK_RSA.1,
            None,
            "certificate.pem: the certificate has a weak RSA key of 1024 bits; use 2048 or more, \
             or ECDSA P-256",
        ),
        (
            SHA1.0,
            SHA1.1,
            None,
            "certificate.pem: the certificate is signed with SHA-1, which can be forged; have it \
             signed with SHA-256",
        ),
        (
            &good.key,
            &good.key,
            None,
            "certificate.pem: holds no certificate (a section `BEGIN CERTIFICATE`)",
        ),
        (
            "",
            &good.key,
            None,
            "certificate.pem: holds no certificate (a section `BEGIN CERTIFICATE`)",
        ),
        (
            cut,
            &good.key,
            None,
            "certificate.pem: is not PEM: a section has no end",
        ),
        (
            &not_base64,
            &good.key,
            None,
            "certificate.pem: is not PEM: a section is not Base64",
        ),
        (
            not_der,
            &good.key,
            None,
            "certificate.pem: holds a certificate that cannot be parsed: ",
        ),
        (
            &good.certificate,
            &good.certificate,
            None,
            "key.pem: holds no private key (a section `BEGIN PRIVATE KEY`, without a passphrase)",
        ),
        (
            &good.certificate,
            &two_keys,
            None,
            "key.pem: holds 2 private keys; keep the one of the certificate",
        ),
        (
            &long,
            &good.key,
            None,
            "certificate.pem: is longer than 1048576 bytes, which no file of certificates is",
        ),
    ] {
        let refusal = refusal(certificate, key, name);
        assert!(refusal.starts_with(expected), "{refusal}\n{expected}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
}

// spec: TLS-1
#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = ServerTls::load(files_in(directory.path(), None)).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("certificate.pem: cannot be read: "),
        "{shown}"
    );
    let missing = directory.path().join("ca.pem");
    let error = ClientTls::load(Trust::CaFile(missing), None).unwrap_err();
    assert!(error.to_string().contains("ca.pem: cannot be read: "));
}

// spec: TLS-1
// spec: AUTH-66
#[test]
fn a_pipe_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("ca.pem");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let error = ClientTls::load(Trust::CaFile(pipe), None).unwrap_err();
    assert!(error.to_string().contains("it is no plain file"), "{error}");
}

#[test]
fn a_certificate_authority_is_checked_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let ca = Authority::new().unwrap();
    let expired = ca.issue_for(&["ca"], Validity::Expired).unwrap();
    for (content, fault) in [
        (&*expired.certificate, "the certificate expired"),
        (WEAK_RSA.0, "weak RSA key of 1024 bits"),
        ("", "holds no certificate"),
    ] {
        fs::write(&file, content).unwrap();
        let error = ClientTls::load(Trust::CaFile(file.clone()), None).unwrap_err();
        assert!(error.to_string().contains(fault), "{error}");
    }
}

// spec: TLS-1
#[test]
fn a_key_that_everybody_can_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let issued = Authority::new().unwrap().issue(&["gpu-1"]).unwrap();
    let files = issued.write(directory.path()).unwrap();
    let log_of_load =
        || Log::of(|| drop(ServerTls::load(files_in(directory.path(), Some("gpu-1"))).unwrap()));
    let quiet = log_of_load();
    assert!(!quiet.contains("WARN"), "{quiet}");
    fs::set_permissions(&files.key, Permissions::from_mode(0o644)).unwrap();
    let warned = log_of_load();
    assert!(
        warned.contains("WARN") && warned.contains("chmod o-r"),
        "{warned}"
    );
}
