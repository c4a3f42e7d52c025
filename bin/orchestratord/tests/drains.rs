//! Drains that were answered, and a control plane that is killed or gets another hostname.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{path::Path, process::Command};

use daemon_process::DaemonProcess;
use serde_json::json;

fn command(directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command =
        daemon_process::command(env!("CARGO_BIN_EXE_orchestratord"), directory, settings);
    command.env("ORCHESTRATORD_ADDR", "127.0.0.1:0");
    command
}

// spec: KEEP-32
#[test]
fn a_drain_that_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let cloud = [("ORCHESTRATORD_CLOUD_PROFILE", "true")];
        DaemonProcess::start(command(directory.path(), &cloud))
    };
    let first = start();
    let registration = json!({
        "node_id": "a", "machine_id": "m", "address": "http://127.0.0.1:9", "pools": ["p"],
    });
    assert_eq!(first.post("/v2/nodes/register", &registration).0, 200);
    // A registration is answered before it is saved, and saved with a drain at the latest.
    assert_eq!(first.post("/v2/nodes/a/drain", &json!({})).0, 200);
    first.kill();
    for (change, is_drained) in [("undrain", false), ("drain", true), ("undrain", false)] {
        let daemon = start();
        for path in ["/v2/nodes/a", "/v2/pools/a/p"] {
            let (status, answer) = daemon.post(&format!("{path}/{change}"), &json!({}));
            assert_eq!(status, 200, "{answer}");
        }
        daemon.kill();
        let (_, node) = start().get("/v2/nodes/a");
        assert_eq!(node["drain"].is_object(), is_drained, "{change}: {node}");
        assert_eq!(
            node["pools"][0]["drain"].is_object(),
            is_drained,
            "{change}: {node}"
        );
    }
}

// spec: KEEP-33
#[test]
fn in_home_the_node_id_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let start = || DaemonProcess::start(command(directory.path(), &[]));
    let node_id = |daemon: &DaemonProcess| loop {
        let (_, answer) = daemon.get("/v2/nodes");
        if let Some(id) = answer["nodes"][0]["node_id"].as_str() {
            return id.to_owned();
        }
    };
    let first = start();
    let file = directory.path().join(".runtime/state/home/node-id");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap().trim_end(),
        node_id(&first)
    );
    first.kill();
    // As on a machine whose hostname was this at the first start.
    std::fs::write(&file, "earlier-name\n").unwrap();
    let second = start();
    assert_eq!(node_id(&second), "earlier-name");
}
