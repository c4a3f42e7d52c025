//! What a control plane may answer, and what a machine makes of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, SystemTime},
};

use node_join::{JoinError, JoinPlan, JoinedFiles, join};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair,
};
use serde_json::{Value, json};
use tls_config::Trust;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the control plane makes of a request.
type Answer = Box<dyn FnOnce(&Value) -> String + Send>;

/// The plan to join a control plane that gives one answer.
fn plan(answer: Answer) -> JoinPlan {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = Vec::new();
        let body = loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).unwrap();
            text.extend(&part[..count]);
            let head = text.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(body) = head.and_then(|at| serde_json::from_slice(&text[at + 4..]).ok()) {
                break body;
            }
        };
        stream.write_all(answer(&body).as_bytes()).unwrap();
    });
    JoinPlan {
        control_plane: url.parse().unwrap(),
        node_id: "gpu-1".parse().unwrap(),
        address: "https://10.0.0.7:9200".parse().unwrap(),
        token: "llorch_canary".try_into().unwrap(),
        trust: Trust::System,
        connect_back: false,
    }
}

fn ok(body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer with a certificate for `host`, signed at `now`.
fn signed(host: &'static str, now: SystemTime, own_key: bool) -> Answer {
    Box::new(move |request| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = (SystemTime::now() - 100 * DAY).into();
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let csr = request["csr"].as_str().unwrap();
        let asked = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = now.into();
        params.not_after = (now + 30 * DAY).into();
        let certificate = if own_key {
            params.signed_by(&asked.public_key, &ca)
        } else {
            params.signed_by(&KeyPair::generate().unwrap(), &ca)
        };
        ok(&json!({
            "node_id": "gpu-1",
            "certificate": certificate.unwrap().pem(),
            "ca_certificate": ca.pem(),
        }))
    })
}

// spec: JOIN-2, JOIN-31
#[test]
fn what_a_machine_gets_is_written_for_its_user_only() {
    let directory = tempfile::tempdir().unwrap();
    let answer = signed("10.0.0.7", SystemTime::now() - HOUR, true);
    let state = directory.path().join("state");
    let joined = join(&plan(answer), &JoinedFiles::in_directory(&state)).unwrap();
    assert!(joined.has_certificate);
    for file in ["identity.pem", "joined.env"] {
        let mode = fs::metadata(state.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let settings = fs::read_to_string(joined.files.settings()).unwrap();
    for line in [
        "POOL_MANAGERD_CLOUD_PROFILE=true",
        "POOL_MANAGERD_NODE_ID=gpu-1",
        "POOL_MANAGERD_ADDR=10.0.0.7:9200",
        "POOL_MANAGERD_REQUIRE_AUTH=true",
    ] {
        assert!(settings.lines().any(|found| found == line), "{settings}");
    }
    assert!(!settings.contains("canary"), "{settings}");
    let rest: Vec<_> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(rest.len(), 3, "{rest:?}");
}

// spec: JOIN-33
#[test]
fn a_certificate_that_cannot_be_used_replaces_nothing() {
    let now = SystemTime::now();
    for (host, at, own_key, says) in [
        (
            "10.0.0.7",
            now + HOUR,
            true,
            "the certificate is not valid before",
        ),
        (
            "10.0.0.7",
            now - 60 * DAY,
            true,
            "the certificate expired at",
        ),
        (
            "10.0.0.8",
            now - HOUR,
            true,
            "not valid for 10.0.0.7, only for",
        ),
        (
            "10.0.0.7",
            now,
            false,
            "the key does not belong to the certificate",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let answer = signed(host, at, own_key);
        let error = join(&plan(answer), &JoinedFiles::in_directory(&state)).unwrap_err();
        assert!(matches!(error, JoinError::BadCertificate(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(says) && text.ends_with("clocks of both machines"),
            "{text}"
        );
        for file in ["identity.pem", "identity.new.pem", "joined.env"] {
            assert!(!state.join(file).exists(), "{file}");
        }
    }
}

// spec: JOIN-33, JOIN-43
#[test]
fn an_answer_that_is_none_is_told_as_such() {
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\n\
                    content-length: 0\r\n\r\n";
    let refusal = json!({"error": {"code": "UNAUTHORIZED", "retriable": false,
        "message": "token: the join token has expired"}});
    let refusal = ok(&refusal).replace("200 OK", "401 Unauthorized");
    for (answer, says) in [
        (redirect.to_owned(), "redirect (307), which is not followed"),
        (
            ok(&json!("hello")),
            "is no control plane, or one of another version",
        ),
        (
            ok(&json!({"node_id": "gpu-1"})),
            "neither a certificate nor a token",
        ),
        (refusal, "refused: token: the join token has expired"),
        (
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad".to_owned(),
            "refused: 502 bad",
        ),
        (String::new(), "cannot be reached"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let error = join(
            &plan(Box::new(move |_| answer)),
            &JoinedFiles::in_directory(&state),
        );
        let text = error.unwrap_err().to_string();
        assert!(text.contains(says), "{says}: {text}");
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "{says}");
    }
}

// spec: JOIN-33
#[test]
fn a_directory_that_cannot_be_written_costs_no_use_of_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let unused = plan(Box::new(|_| unreachable!("nothing is sent")));
    let error = join(&unused, &JoinedFiles::in_directory(file.join("state"))).unwrap_err();
    assert!(matches!(error, JoinError::NotWritten { .. }), "{error}");
}
