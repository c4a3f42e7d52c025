//! Variables without effect: typing errors, and settings of the other profile.

use std::net::TcpListener;

use daemon_process::refused;

const DAEMON: &str = env!("CARGO_BIN_EXE_pool-managerd");

// spec: CONF-26, CONF-27, CHECK-2
#[test]
fn they_are_warnings_at_a_start_and_in_a_check() {
    let directory = tempfile::tempdir().unwrap();
    // The address is in use, so the daemon ends after it has begun to log.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let settings = [
        ("POOL_MANAGERD_ADDR", addr.as_str()),
        ("POOL_MANAGERD_ADRESS", "http://gpu-1:9200"),
        ("ORCHESTRATORD_URL", "http://127.0.0.1:9"),
        // An empty variable is not set.
        ("POOL_MANAGERD_METRIC_ADDR", ""),
    ];
    let mut check = daemon_process::command(DAEMON, directory.path(), &settings);
    check.arg("check");
    let start = daemon_process::command(DAEMON, directory.path(), &settings);
    for (command, code) in [(start, Some(1)), (check, Some(0))] {
        let (ended, text) = refused(command);
        assert_eq!(ended, code, "{text}");
        for part in [
            "is no setting, so it has no effect",
            "did you mean POOL_MANAGERD_ADDRESS? otherwise unset it",
            "has no effect in the HOME profile",
            "set POOL_MANAGERD_CLOUD_PROFILE=true, or unset it",
        ] {
            assert_eq!(text.matches(part).count(), 1, "{part:?} in:\n{text}");
        }
        assert!(!text.contains("POOL_MANAGERD_METRIC_ADDR"), "{text}");
    }
    let in_cloud = [("POOL_MANAGERD_CLOUD_PROFILE", "true")];
    let settings = [&settings[..], &in_cloud].concat();
    let (_, text) = refused(daemon_process::command(DAEMON, directory.path(), &settings));
    assert!(!text.contains("has no effect in the"), "{text}");
}
