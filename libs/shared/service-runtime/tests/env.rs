//! All problems of the settings are reported at once, without secrets.

use std::{
    ffi::OsString, net::SocketAddr, os::unix::ffi::OsStringExt as _, process::Command,
    time::Duration,
};

use pool_registry_types::{HttpUrl, NodeId};
use service_runtime::env::{Environment, Problems};

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
struct Raw {
    demo_a: Option<String>,
    demo_b: Option<String>,
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// What `read` returns for `text`, and the problems that it reports.
fn reading<T>(text: &str, read: impl FnOnce(&mut Problems, Option<String>) -> T) -> (T, String) {
    let mut problems = Problems::default();
    let value = read(&mut problems, some(text));
    (value, problems.to_string())
}

#[test]
fn empty_is_unset_and_names_are_exact() {
    let mut problems = Problems::default();
    let environment = Environment::from_pairs([
        ("DEMO_A", " "),
        ("demo_b", "lower case"),
        ("DEMO_B", "x"),
        ("DEMO_C", "unknown"),
    ]);
    let raw: Raw = environment.into_raw(&mut problems);
    assert_eq!(
        raw,
        Raw {
            demo_a: None,
            demo_b: some("x")
        }
    );
    problems.finish().unwrap();
}

#[test]
fn a_part_is_named_by_what_follows_its_prefix() {
    let mut problems = Problems::default();
    let environment = Environment::from_pairs([("X_DEMO_A", "a"), ("DEMO_B", "b")]);
    let part: Raw = environment.raw_after("X_", &mut problems);
    assert_eq!(
        part,
        Raw {
            demo_a: some("a"),
            demo_b: None
        }
    );
    problems.finish().unwrap();
}

// spec: CONF-4
#[test]
fn a_value_that_is_not_unicode_is_reported_by_name() {
    let mut problems = Problems::default();
    let environment = Environment::from_pairs([("DEMO_A", OsString::from_vec(vec![b'x', 0xff]))]);
    let raw: Raw = environment.into_raw(&mut problems);
    assert_eq!(raw, Raw::default());
    assert_eq!(problems.to_string(), "DEMO_A: must be valid UTF-8 text");
}

/// Tells a child process its role.
const ROLE: &str = "SERVICE_RUNTIME_TEST_ROLE";

// spec: CONF-4
#[test]
fn foreign_variables_do_no_harm() {
    if std::env::var_os(ROLE).is_some() {
        let mut problems = Problems::default();
        let raw: Raw = Environment::from_process(&["DEMO_"]).into_raw(&mut problems);
        assert_eq!(raw.demo_a, some("mine"));
        return problems.finish().unwrap();
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "foreign_variables_do_no_harm"])
        .env(ROLE, "reader")
        .env("DEMO_A", "mine")
        .env("OTHER", OsString::from_vec(vec![0xff]))
        .env(OsString::from_vec(vec![b'D', 0xff]), "x")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn flags() {
    for (text, value) in [
        ("true", true),
        ("1", true),
        ("false", false),
        (" 0 ", false),
    ] {
        assert_eq!(
            reading(text, |p, raw| p.flag("F", raw, !value)),
            (value, String::new())
        );
    }
    for text in ["yes", "TRUE", "2"] {
        let (value, problem) = reading(text, |p, raw| p.flag("F", raw, true));
        assert!(value);
        assert_eq!(
            problem,
            format!("F: must be true or false (or 1 or 0), not {text:?}")
        );
    }
    assert!(Problems::default().flag("F", None, true));
}

#[test]
fn numbers_and_durations() {
    let read = |text: &str| reading(text, |p, raw| p.integer("N", raw, 7, 1..=10));
    assert_eq!(read(" 10 "), (10, String::new()));
    for text in ["0", "11", "-1", "1.5", "1e3", "ten", "99999999999999999999"] {
        let (value, problem) = read(text);
        assert_eq!(value, 7);
        assert_eq!(
            problem,
            format!("N: must be a whole number from 1 to 10, not {text:?}")
        );
    }
    let seconds = |p: &mut Problems, raw| p.seconds("S", raw, Duration::from_secs(10), 1..=60);
    assert_eq!(reading("2", seconds).0, Duration::from_secs(2));
    assert_eq!(
        seconds(&mut Problems::default(), None),
        Duration::from_secs(10)
    );
    let millis = |p: &mut Problems, raw| p.millis("M", raw, Duration::from_millis(1500), 1..=5000);
    assert_eq!(reading("20", millis).0, Duration::from_millis(20));
    assert_eq!(reading("5001", millis).0, Duration::from_millis(1500));
}

#[test]
fn addresses_urls_and_ids() {
    let default = SocketAddr::from(([127, 0, 0, 1], 8080));
    let address = |text: &str| reading(text, |p, raw| p.socket_addr("A", raw, default));
    assert_eq!(address("[::1]:0").0, "[::1]:0".parse().unwrap());
    let (value, problem) = address("localhost:80");
    assert_eq!(value, default);
    assert_eq!(
        problem,
        "A: must be an IP address and a port such as 127.0.0.1:8080, not \"localhost:80\""
    );

    let url = |text: &str| reading(text, |p, raw| p.optional::<HttpUrl>("U", raw));
    assert_eq!(
        url("http://a:1").0,
        Some(HttpUrl::new("http://a:1").unwrap())
    );
    assert!(url("ftp://a").1.starts_with("U: must be a URL such as"));

    let default = NodeId::new("host").unwrap();
    let (value, problem) = reading("a/b", |p, raw| p.parse("ID", raw, default.clone()));
    assert_eq!(value, default);
    assert!(problem.starts_with("ID: node_id must be"), "{problem}");
}

#[test]
fn required_ones() {
    let mut problems = Problems::default();
    let missing: Option<HttpUrl> =
        problems.required("U", None, "in the CLOUD profile, to http://host:port");
    assert_eq!(missing, None);
    let present: Option<HttpUrl> = problems.required("V", some("http://a:1"), "always");
    assert!(present.is_some());
    assert_eq!(
        problems.finish().unwrap_err().to_string(),
        "U: must be set in the CLOUD profile, to http://host:port"
    );
}

#[test]
fn lists() {
    let read = |text: &str| reading(text, |p, raw| p.list::<HttpUrl>("L", raw));
    let (urls, problem) = read("http://a:1 , http://b:2");
    assert_eq!((urls.unwrap().len(), problem.as_str()), (2, ""));
    let (urls, problem) = read("http://a:1,,b");
    assert_eq!(urls.unwrap().len(), 1);
    assert_eq!(problem.lines().count(), 2, "{problem}");
    assert_eq!(Problems::default().list::<HttpUrl>("L", None), None);
}

// spec: CONF-5
#[test]
fn no_secret_is_repeated() {
    const CANARY: &str = "canary-9f8e7d6c";
    let environment = Environment::from_pairs([("DEMO_A", CANARY)]);
    assert!(!format!("{environment:?}").contains(CANARY));
    let (value, problem) = reading(CANARY, |p, raw| {
        p.secret("LLORCH_API_TOKEN", raw, |_| {
            Err::<(), _>("must have at least 8 characters")
        })
    });
    assert_eq!(value, None);
    assert_eq!(problem, "LLORCH_API_TOKEN: must have at least 8 characters");
}

// spec: CONF-5
#[test]
fn a_value_cannot_forge_a_line_or_flood_the_report() {
    let (_, problem) = reading("x\nDEMO_B is fine", |p, raw| p.flag("F", raw, true));
    assert_eq!(problem.lines().count(), 1, "{problem}");
    let (_, problem) = reading(&"x".repeat(100_000), |p, raw| p.flag("F", raw, true));
    assert!(problem.len() < 200);
}
