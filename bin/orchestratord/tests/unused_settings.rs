//! Variables without effect.

use std::net::TcpListener;

use daemon_process::refused;

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");

// spec: CONF-26
#[test]
fn a_typing_error_is_a_warning_at_a_start_in_both_profiles() {
    // The address is in use, so the daemon ends after it has begun to log.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for profile in ["false", "true"] {
        let directory = tempfile::tempdir().unwrap();
        let settings = [
            ("ORCHESTRATORD_ADDR", addr.as_str()),
            ("ORCHESTRATORD_CLOUD_PROFILE", profile),
            ("ORCHESTRATORD_QEUE_LIMIT", "7"),
        ];
        let (code, text) = refused(daemon_process::command(DAEMON, directory.path(), &settings));
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("ORCHESTRATORD_QEUE_LIMIT is no setting, so it has no effect")
                && text.contains("did you mean ORCHESTRATORD_QUEUE_LIMIT?"),
            "{text}"
        );
    }
}
