//! Files are read again when they change.

use std::{fs, path::Path, sync::Arc};

use test_certificates::{Authority, Validity, replace};
use tls_config::{IdentityFiles, Reload, ServerFiles, ServerTls};

fn load(directory: &Path) -> ServerTls {
    ServerTls::load(ServerFiles {
        identity: IdentityFiles {
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
        },
        client_ca: None,
        name: None,
    })
    .unwrap()
}

// spec: TLS-2
#[test]
fn a_renewed_certificate_is_loaded_at_the_next_look() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    ca.issue(&["a"]).unwrap().write(directory.path()).unwrap();
    let tls = load(directory.path());
    let first = tls.config();
    assert!(matches!(tls.reload(), Reload::Unchanged));
    assert!(Arc::ptr_eq(&first, &tls.config()));

    ca.issue(&["b"]).unwrap().write(directory.path()).unwrap();
    assert!(matches!(tls.reload(), Reload::Loaded));
    assert!(!Arc::ptr_eq(&first, &tls.config()));
    assert!(matches!(tls.reload(), Reload::Unchanged));
}

// spec: TLS-2
#[test]
fn a_broken_file_is_refused_once_and_the_last_good_state_stays() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let good = ca.issue(&["a"]).unwrap();
    let files = good.write(directory.path()).unwrap();
    let tls = load(directory.path());
    let first = tls.config();

    let expired = ca.issue_for(&["a"], Validity::Expired).unwrap();
    expired.write(directory.path()).unwrap();
    // The first look may have met the middle of a replacement.
    assert!(matches!(tls.reload(), Reload::Unchanged));
    let Reload::Refused(error) = tls.reload() else {
        panic!("an expired certificate was accepted");
    };
    assert!(
        error
            .to_string()
            .contains("certificate.pem: the certificate expired")
    );
    assert!(matches!(tls.reload(), Reload::Unchanged));
    assert!(Arc::ptr_eq(&first, &tls.config()));

    fs::remove_file(&files.certificate).unwrap();
    assert!(matches!(tls.reload(), Reload::Unchanged));
    assert!(matches!(tls.reload(), Reload::Refused(_)));
    assert!(Arc::ptr_eq(&first, &tls.config()));

    good.write(directory.path()).unwrap();
    assert!(matches!(tls.reload(), Reload::Loaded));
}

// spec: TLS-2
#[test]
fn a_key_that_is_replaced_before_its_certificate_is_no_fault() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let files = ca.issue(&["a"]).unwrap().write(directory.path()).unwrap();
    let tls = load(directory.path());
    let renewed = ca.issue(&["a"]).unwrap();
    replace(&files.key, &renewed.key).unwrap();
    assert!(matches!(tls.reload(), Reload::Unchanged));
    replace(&files.certificate, &renewed.certificate).unwrap();
    assert!(matches!(tls.reload(), Reload::Loaded));
}
