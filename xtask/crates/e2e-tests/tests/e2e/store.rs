//! A control plane moves to another directory and port with all of its state, from one file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use child_process::Group;
use serde_json::{Value, json};
use test_client::{Client, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, Daemon, handoff, write_handoff};
use workspace_build::{Binaries, llorch};

use crate::joining::{Machine, Output, answers, https, run, with_ca};

const SOON: Duration = Duration::from_secs(90);
const TOKEN: &str = "canary-api-token-of-the-fleet";
/// A node that is not there, and is drained.
const ABSENT: &str = "gpu-9";

/// What a control plane shows of its state.
const SHOWN: [&str; 3] = ["/v2/keys", "/v2/join-tokens", "/v2/usage"];

fn operate(url: &str, arguments: &[&str]) -> Result<Output> {
    let settings = [("LLORCH_URL", url), ("LLORCH_API_TOKEN", TOKEN)];
    run(&llorch()?, arguments, &settings)
}

/// Runs `llorch`, which must succeed.
fn done(url: &str, arguments: &[&str]) -> Result<Output> {
    let output = operate(url, arguments)?;
    ensure!(output.code == Some(0), "{arguments:?}: {}", output.err);
    Ok(output)
}

/// Runs `llorch`, which must refuse and say why.
fn refused(url: &str, arguments: &[&str], says: &str) -> Result<()> {
    let output = operate(url, arguments)?;
    ensure!(
        output.code == Some(2) && output.err.contains(says) && output.err.lines().count() == 1,
        "{arguments:?}: {:?} {}",
        output.code,
        output.err
    );
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

fn node(operator: &Client, name: &str) -> Result<Value> {
    operator.get_json(&format!("/v2/nodes/{name}"))
}

/// A control plane over a state that was imported.
fn restored(cluster: &Cluster, state: &str, ca: &str) -> Result<(Daemon, String)> {
    let directory = cluster.directory().join("restored");
    fs::create_dir_all(&directory)?;
    let program = Binaries::get()?.orchestratord;
    let mut daemon = Daemon::new(
        "restored",
        &program,
        &directory,
        &cluster.logs(),
        Group::Ours,
    );
    for (variable, value) in [
        ("ORCHESTRATORD_CLOUD_PROFILE", "true"),
        ("ORCHESTRATORD_ADDR", "127.0.0.1:0"),
        ("ORCHESTRATORD_STATE_DIR", state),
        ("ORCHESTRATORD_CA_DIR", ca),
        ("LLORCH_API_TOKEN", TOKEN),
    ] {
        daemon.set(variable, value);
    }
    let address = daemon.start()?;
    Ok((daemon, format!("http://{address}")))
}

// spec: KEEP-70, KEEP-73, KEEP-75, CLI-61
#[test]
fn a_control_plane_moves_with_all_of_its_state() -> Result<()> {
    Cluster::test("store", |cluster| {
        let mut control = with_ca(cluster, &[("LLORCH_API_TOKEN", TOKEN)])?;
        let url = control.url();
        let operator = control.client().with_token(TOKEN);
        let (a, b) = (Machine::new(cluster, "a")?, Machine::new(cluster, "b")?);
        let printed = done(&url, &["join-token", "create", "--uses", "2"])?;
        let joined = a.join("node-a", &printed, "https")?;
        ensure!(joined.code == Some(0), "{}", joined.err);
        let mut node_a = a.start(cluster, "node-a")?;
        let engine = cluster.engine(2)?;
        write_handoff(&a.directory, &handoff("pool-0", "r0", &engine))?;
        wait_for("an answer", SOON, || answers(&operator))?;

        let create = [
            "token", "create", "shop", "--scope", "client", "--rpm", "50",
        ];
        let shop = done(&url, &create)?.out;
        let old = done(&url, &["token", "create", "old", "--scope", "client"])?.out;
        done(&url, &["token", "revoke", "old"])?;
        done(&url, &["nodes", "revoke", "gpu-8"])?;
        let registration = json!({"node_id": ABSENT, "machine_id": "m", "pools": [],
            "address": "http://127.0.0.1:9", "capabilities": {"gpus": [], "cpu_cores": 1,
            "ram_total_bytes": 1}});
        assert_eq!(
            operator.post("/v2/nodes/register", &registration)?.status,
            200
        );
        done(&url, &["drain", ABSENT])?;
        let as_shop = control.client().with_token(&shop);
        assert_eq!(as_shop.chat(10)?.text()?, chain(10));
        wait_for("usage", SOON, || {
            let usage = operator.get_json("/v2/usage");
            usage.is_ok_and(|usage| usage["usage"][0]["output_tokens"] == 10)
        })?;

        let at = |name: &str| cluster.directory().join(name);
        let (backup, ca, new_ca, new_state) = (at("backup"), at("ca"), at("new-ca"), at("new"));
        let [backup, ca] = [text(&backup)?, text(&ca)?];
        let [new_ca, new_state] = [text(&new_ca)?, text(&new_state)?];
        refused(
            &url,
            &["store", "export", backup],
            "the control plane has a CA (",
        )?;
        let export = done(&url, &["store", "export", backup, "--ca-dir", ca])?;
        ensure!(
            export.err.contains("has the private key of the CA"),
            "{}",
            export.err
        );
        assert_eq!(fs::metadata(backup)?.permissions().mode() & 0o777, 0o600);
        let content = fs::read_to_string(backup)?;
        for token in [&shop, &old, &printed.out, &TOKEN.to_owned()] {
            ensure!(
                !content.contains(token.as_str()),
                "a token is in the export"
            );
        }
        let no_operator = run(
            &llorch()?,
            &["store", "export", backup, "--without-ca"],
            &[("LLORCH_URL", url.as_str()), ("LLORCH_API_TOKEN", &shop)],
        )?;
        assert_eq!(no_operator.code, Some(4), "{}", no_operator.err);

        // While it runs, its directory is its own.
        let state = control.daemon().directory().join(".runtime/state");
        let state = text(&state)?;
        let import = ["store", "import", backup, "--state-dir"];
        let busy = [&import[..], &[state, "--without-ca", "--replace"]].concat();
        let pid = control.daemon().process()?.pid();
        refused(
            &url,
            &busy,
            &format!("process {pid} is the control plane there already"),
        )?;
        let before = SHOWN.map(|path| operator.get_json(path));
        control.terminate(SOON)?;
        let stopped = at("stopped");
        let offline = [
            "store",
            "export",
            text(&stopped)?,
            "--state-dir",
            state,
            "--json",
        ];
        let offline: Value = serde_json::from_str(&done(&url, &offline)?.out)?;
        assert_eq!(
            (&offline["keys"], &offline["nodes"]),
            (&json!(2), &json!(2)),
            "{offline}"
        );
        let occupied = [&import[..], &[state, "--without-ca"]].concat();
        refused(&url, &occupied, "has state already (registry.redb)")?;

        let fresh = [&import[..], &[new_state, "--ca-dir", new_ca]].concat();
        done(&url, &fresh)?;
        let (_restored, moved) = restored(cluster, new_state, new_ca)?;
        let client = Client::new(&moved);
        let operator = client.clone().with_token(TOKEN);
        for (path, before) in SHOWN.iter().zip(before) {
            assert_eq!(operator.get_json(path)?, before?, "{path}");
        }
        // Before any heartbeat the node is asked who it is, and serves.
        let as_shop = client.clone().with_token(&shop);
        wait_for("an answer", SOON, || answers(&as_shop))?;
        let refusal = client.with_token(&old).chat(3)?;
        ensure!(
            refusal.status == 401 && refusal.body.contains("revoked"),
            "{}",
            refusal.body
        );
        let absent = node(&operator, ABSENT)?;
        ensure!(absent["drain"].is_object(), "{absent}");

        // The node goes on with the certificate that it has, and another one joins with the token
        // that was created before.
        node_a.kill();
        node_a.set("ORCHESTRATORD_URL", &https(&moved));
        node_a.start()?;
        wait_for("the node", SOON, || {
            node(&operator, "node-a").is_ok_and(|node| node["status"] == "online")
        })?;
        let printed = Output {
            err: printed
                .err
                .replace(&https(&url), &https(&moved))
                .replace(&url, &moved),
            ..printed
        };
        let joined = b.join("node-b", &printed, "https")?;
        ensure!(joined.code == Some(0), "{}", joined.err);
        Ok(())
    })
}
