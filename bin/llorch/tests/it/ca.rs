//! `llorch ca`: files, output and errors.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::run;

// spec: JOIN-1, JOIN-2
#[test]
fn a_ca_is_made_once_and_its_certificate_of_the_control_plane_is_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca");
    let dir = path.to_str().unwrap();
    let made = run("", &["ca", "init", dir, "--host", "control.example"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let fingerprint = run("", &["ca", "fingerprint", dir]).out;
    assert_eq!(fingerprint.len(), 65);
    assert!(made.out.contains(fingerprint.trim()), "{made:?}");
    assert!(made.out.contains("known as control.example, localhost"));
    assert!(made.err.contains("ORCHESTRATORD_CA_DIR="), "{made:?}");
    for (name, expected) in [("", 0o700), ("ca.key", 0o600), ("server.pem", 0o600)] {
        let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected, "{name:?}");
    }
    let again = run("", &["ca", "init", dir]);
    assert_eq!((again.code, again.out.as_str()), (Some(2), ""));
    assert!(again.err.contains("there is a CA already"), "{again:?}");
    // The hosts stay.
    let renewed = run("", &["--json", "ca", "renew", dir]);
    let value: serde_json::Value = serde_json::from_str(&renewed.out).unwrap();
    assert_eq!(value["ca_sha256"], fingerprint.trim());
    assert_eq!(value["hosts"][0], "control.example");
    fs::write(path.join("ca.key"), "x").unwrap();
    let broken = run("", &["ca", "renew", dir]);
    assert_eq!(broken.code, Some(2));
    assert!(
        broken.err.contains("ca.key: holds no private key"),
        "{broken:?}"
    );
    let wrong = run("", &["ca", "init", dir, "--host", "https://x"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("without a scheme"), "{wrong:?}");
}
