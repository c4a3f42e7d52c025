//! Machines join a control plane: two commands, certificates that renew themselves, and what the
//! certificate of another node is refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use child_process::Group;
use serde_json::{Value, json};
use test_client::{Client, chain};
use test_clock::{now, wait_for};
use test_cluster::{Cluster, Daemon, Orchestrator, free_port, handoff, write_handoff};
use tls_config::{ClientTls, IdentityFiles, Trust};
use tls_ureq::{TlsConnector, explain};
use ureq::{
    Agent,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};
use workspace_build::{Binaries, llorch};

pub(crate) const SOON: Duration = Duration::from_secs(90);

/// Short, so that a test sees several renewals; a certificate is renewed after two thirds of it.
const LIFETIME_SECS: u64 = 12;

/// What a program wrote, and how it ended.
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Output> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .output()?;
    Ok(Output {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?.trim().to_owned(),
        err: String::from_utf8(output.stderr)?,
    })
}

/// Runs `llorch` against a control plane; it must succeed.
pub(crate) fn operate(orchestrator: &Orchestrator, arguments: &[&str]) -> Result<Output> {
    let url = orchestrator.url();
    let done = run(&llorch()?, arguments, &[("LLORCH_URL", &url)])?;
    ensure!(done.code == Some(0), "{arguments:?}: {}", done.err);
    Ok(done)
}

/// A control plane with a CA.
pub(crate) fn with_ca(cluster: &Cluster, settings: &[(&str, &str)]) -> Result<Orchestrator> {
    let directory = cluster.directory().join("ca");
    let directory = directory.to_str().context("a path in UTF-8")?;
    let made = run(&llorch()?, &["ca", "init", directory], &[])?;
    ensure!(made.code == Some(0), "{}", made.err);
    let ca = [("ORCHESTRATORD_CA_DIR", directory)];
    cluster.orchestrator(&[&ca, settings].concat())
}

/// A machine that may become a node.
pub(crate) struct Machine {
    pub(crate) directory: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) program: PathBuf,
    /// Where its node listens.
    port: u16,
}

impl Machine {
    pub(crate) fn new(cluster: &Cluster, name: &str) -> Result<Self> {
        let directory = cluster.directory().join(name);
        fs::create_dir_all(directory.join(".runtime/engines"))?;
        Ok(Self {
            state: directory.join("state"),
            directory,
            program: Binaries::get()?.pool_managerd,
            port: free_port()?,
        })
    }

    /// The certificate of the CA, once it has joined.
    pub(crate) fn ca(&self) -> PathBuf {
        self.state.join("ca.pem")
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Runs the join command that `llorch join-token create` has printed for this machine.
    pub(crate) fn join(&self, node: &str, printed: &Output, scheme: &str) -> Result<Output> {
        let file = self.directory.join("join-token");
        fs::write(&file, &printed.out)?;
        let command = printed.err.lines().find(|line| line.contains("join http"));
        let command = command.context("no command")?.trim();
        let command = command.replace("http://", &format!("{scheme}://"));
        let words = command.split(' ').skip(1).map(|word| match word {
            "F" => file.to_str().unwrap_or_default(),
            word => word,
        });
        let address = self.url(scheme);
        let own = ["--node-id", node, "--address", &address];
        let arguments: Vec<&str> = words.chain(own).collect();
        let state = self.state.to_str().context("a path in UTF-8")?;
        run(
            &self.program,
            &arguments,
            &[("POOL_MANAGERD_STATE_DIR", state)],
        )
    }

    /// Starts the agent: the directories are all of its settings.
    pub(crate) fn start(&self, cluster: &Cluster, name: &str) -> Result<Daemon> {
        let mut daemon = self.daemon(cluster, name)?;
        daemon.start()?;
        Ok(daemon)
    }

    /// The agent before it is started.
    pub(crate) fn daemon(&self, cluster: &Cluster, name: &str) -> Result<Daemon> {
        let logs = cluster.logs();
        let mut daemon = Daemon::new(name, &self.program, &self.directory, &logs, Group::Ours);
        let state = self.state.to_str().context("a path in UTF-8")?;
        daemon.set("POOL_MANAGERD_STATE_DIR", state);
        Ok(daemon)
    }

    /// A client that presents the certificate of this node.
    pub(crate) fn client(&self) -> Result<TlsClient> {
        let own = IdentityFiles::in_one(self.state.join("identity.pem"));
        let trust = Trust::CaFile(self.state.join("ca.pem"));
        Ok(TlsClient::new(ClientTls::load(trust, Some(own))?))
    }
}

/// A client over TLS.
pub(crate) struct TlsClient(Agent);

impl TlsClient {
    fn new(tls: ClientTls) -> Self {
        let connector = ().chain(TcpConnector::default()).chain(TlsConnector::new(tls));
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .build();
        Self(Agent::with_parts(
            config,
            connector,
            DefaultResolver::default(),
        ))
    }

    /// The status and the body of an answer, or why there is none.
    pub(crate) fn send(&self, method: &str, url: &str, body: &Value) -> Result<(u16, String)> {
        let answer = match method {
            "get" => self.0.get(url).call(),
            "delete" => self.0.delete(url).call(),
            _ => self
                .0
                .post(url)
                .content_type("application/json")
                .send(body.to_string()),
        };
        let mut answer = answer.map_err(|error| {
            anyhow::anyhow!(explain(&error).unwrap_or_else(|| error.to_string()))
        })?;
        let text = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), text))
    }
}

pub(crate) fn https(url: &str) -> String {
    url.replace("http://", "https://")
}

pub(crate) fn answers(client: &Client) -> bool {
    client.chat(3).is_ok_and(|answer| answer.status == 200)
}

// spec: JOIN-1, JOIN-3, JOIN-20, JOIN-31, JOIN-32, JOIN-33
#[test]
fn a_machine_joins_in_two_commands_and_is_reached_with_mutual_tls() -> Result<()> {
    Cluster::test("joining", |cluster| {
        let orchestrator = with_ca(cluster, &[])?;
        let (a, b) = (Machine::new(cluster, "a")?, Machine::new(cluster, "b")?);
        let printed = operate(&orchestrator, &["join-token", "create", "--uses", "2"])?;
        let joined = a.join("node-a", &printed, "https")?;
        ensure!(joined.code == Some(0), "{}", joined.err);
        ensure!(
            joined.out.contains("next: start pool-managerd"),
            "{}",
            joined.out
        );
        // Once is enough, and the token is for two machines.
        let again = a.join("node-a", &printed, "https")?;
        ensure!(
            again.code == Some(1) && again.err.contains("has joined before"),
            "{}",
            again.err
        );
        ensure!(b.join("node-b", &printed, "https")?.code == Some(0));
        let listed = operate(&orchestrator, &["join-token", "list"])?;
        ensure!(listed.out.contains("2 of 2"), "{}", listed.out);

        let _node = a.start(cluster, "node-a")?;
        let engine = cluster.engine(2)?;
        write_handoff(&a.directory, &handoff("pool-0", "r0", &engine))?;
        let client = orchestrator.client();
        wait_for("an answer", SOON, || answers(&client))?;
        assert_eq!(client.chat(10)?.text()?, chain(10));
        let known = orchestrator.node("node-a").context("unknown")?;
        assert_eq!(known["address"], a.url("https").as_str());

        // Without a certificate, this machine gets nothing from the node; another node's
        // certificate opens neither the node's routes nor those of that node.
        let engine_path = "/v2/pools/pool-0/engine/v1/models";
        let without = TlsClient::new(ClientTls::load(
            Trust::CaFile(a.state.join("ca.pem")),
            None,
        )?);
        let other = b.client()?;
        for (client, status) in [(&without, 401), (&other, 403)] {
            for path in [engine_path, "/v2/pools", "/metrics"] {
                let url = format!("{}{path}", a.url("https"));
                let (found, body) = client.send("get", &url, &Value::Null)?;
                ensure!(found == status, "{path}: {found} {body}");
            }
        }
        let control = https(&orchestrator.url());
        let heartbeat = json!({"timestamp": "2025-09-30T22:00:00Z", "pools": []});
        for (method, path) in [
            ("post", "/v2/nodes/node-a/heartbeat"),
            ("post", "/v2/nodes/node-a/certificate"),
            ("delete", "/v2/nodes/node-a"),
            ("get", "/v2/nodes/node-a"),
            ("get", "/v2/nodes"),
            ("post", "/v1/chat/completions"),
            ("post", "/v2/join-tokens"),
        ] {
            let url = format!("{control}{path}");
            let (status, body) = other.send(method, &url, &heartbeat)?;
            ensure!(status == 403, "{method} {path}: {status} {body}");
            ensure!(body.contains("certificate of node node-b"), "{body}");
        }
        // Its own routes are open to it.
        let url = format!("{control}/v2/nodes/node-b");
        let (status, body) = other.send("get", &url, &Value::Null)?;
        ensure!(status == 404 && body.contains("UNKNOWN_NODE"), "{body}");

        // A revocation ends the node within a second.
        let own = a.client()?;
        let url = format!("{control}/v2/nodes/node-a");
        assert_eq!(own.send("get", &url, &Value::Null)?.0, 200);
        let began = now();
        operate(&orchestrator, &["nodes", "revoke", "node-a"])?;
        let (status, body) = own.send("get", &url, &Value::Null)?;
        println!(
            "refused {} ms after the command began",
            began.elapsed().as_millis()
        );
        ensure!(
            status == 401 && body.contains("was revoked"),
            "{status} {body}"
        );
        Ok(())
    })
}

// spec: JOIN-51
#[test]
fn certificates_are_renewed_under_load_without_a_failure() -> Result<()> {
    Cluster::test("join-renewal", |cluster| {
        let lifetime = LIFETIME_SECS.to_string();
        let settings = [("ORCHESTRATORD_NODE_CERT_LIFETIME_SECS", lifetime.as_str())];
        let orchestrator = with_ca(cluster, &settings)?;
        let machine = Machine::new(cluster, "a")?;
        let printed = operate(&orchestrator, &["join-token", "create"])?;
        let joined = machine.join("node-a", &printed, "https")?;
        ensure!(joined.code == Some(0), "{}", joined.err);
        let mut node = machine.start(cluster, "node-a")?;
        let engine = cluster.engine(4)?;
        write_handoff(&machine.directory, &handoff("pool-0", "r0", &engine))?;
        let client = orchestrator.client();
        wait_for("an answer", SOON, || answers(&client))?;
        let log = node.log()?;
        let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let failed = parking_lot::Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        match client.chat(3) {
                            Ok(answer) if answer.status == 200 => {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            other => failed.lock().push(format!("{other:?}")),
                        }
                    }
                });
            }
            // After the third, the first certificate has expired.
            let renewed = wait_for("three renewals", SOON, || {
                log.text().matches("the certificate is renewed").count() >= 3
            });
            stop.store(true, Ordering::Relaxed);
            renewed
        })?;
        println!("{} requests", answered.load(Ordering::Relaxed));
        ensure!(failed.lock().is_empty(), "{:?}", failed.lock());
        let known = orchestrator.node("node-a").context("unknown")?;
        assert_eq!(known["status"], "online");
        // The renewed certificate is the one of the next start.
        node.kill();
        node.start()?;
        wait_for("an answer", SOON, || answers(&client))
    })
}

// spec: JOIN-13, JOIN-34
#[test]
fn without_tls_a_machine_joins_with_a_token() -> Result<()> {
    Cluster::test("join-plain", |cluster| {
        let token = "canary-api-token-of-the-fleet";
        let orchestrator = cluster.orchestrator(&[("LLORCH_API_TOKEN", token)])?;
        let machine = Machine::new(cluster, "a")?;
        let url = orchestrator.url();
        let settings = [("LLORCH_URL", url.as_str()), ("LLORCH_API_TOKEN", token)];
        let printed = run(&llorch()?, &["join-token", "create"], &settings)?;
        let joined = machine.join("node-a", &printed, "http")?;
        ensure!(joined.code == Some(0), "{}", joined.err);
        let node = machine.start(cluster, "node-a")?;
        let engine = cluster.engine(2)?;
        write_handoff(&machine.directory, &handoff("pool-0", "r0", &engine))?;
        let client = orchestrator.client().with_token(token);
        wait_for("an answer", SOON, || answers(&client))?;
        let (code, listed) = {
            let listed = run(&llorch()?, &["token", "list"], &settings)?;
            (listed.code, listed.out)
        };
        ensure!(
            code == Some(0) && listed.contains("node node-a"),
            "{listed}"
        );
        // The node demands a credential of everyone.
        let direct = Client::new(&machine.url("http"));
        assert_eq!(direct.get("/v2/pools")?.status, 401);
        let joined = fs::read_to_string(machine.state.join("joined.env"))?;
        let own = joined
            .lines()
            .find_map(|line| line.strip_prefix("LLORCH_API_TOKEN="));
        let own = own.context("no token")?;
        for (name, text) in cluster.all_logs() {
            ensure!(
                !text.contains(own) && !text.contains(&printed.out),
                "{name}"
            );
        }
        drop(node);
        Ok(())
    })
}

// spec: JOIN-33
#[test]
fn a_machine_that_may_not_join_is_told_why() -> Result<()> {
    Cluster::test("join-refused", |cluster| {
        let orchestrator = with_ca(cluster, &[])?;
        let machine = Machine::new(cluster, "a")?;
        let good = operate(&orchestrator, &["join-token", "create"])?;
        let bound = operate(&orchestrator, &["join-token", "create", "--node", "node-b"])?;
        let edit = |printed: &Output, from: &str, to: &str| Output {
            code: None,
            out: printed.out.replace(from, to),
            err: printed.err.replace(from, to),
        };
        let pin = good
            .err
            .split("--ca-sha256 ")
            .nth(1)
            .context("no pin")?
            .trim();
        let port = orchestrator.url();
        let port = port.rsplit(':').next().context("no port")?.to_owned();
        for (printed, scheme, code, says) in [
            (
                edit(&bound, "", ""),
                "https",
                1,
                "node_id: this join token is for the node node-b",
            ),
            (
                edit(&good, &good.out, "llorch_nonsense"),
                "https",
                1,
                "token: the join token is mistyped",
            ),
            (
                edit(&good, pin, &"0".repeat(64)),
                "https",
                1,
                "is of a CA that is not trusted",
            ),
            (
                edit(&good, pin, "nonsense"),
                "https",
                64,
                "--ca-sha256: must be the SHA-256",
            ),
            (
                edit(&good, "join https://", "join http://"),
                "http",
                64,
                "URL: must begin with https://",
            ),
            (
                edit(
                    &good,
                    &format!("127.0.0.1:{port}"),
                    &format!("127.0.0.2:{port}"),
                ),
                "https",
                1,
                "127.0.0.2",
            ),
            (
                edit(&good, "--token-file", "--nonsense --token-file"),
                "https",
                64,
                "unknown option",
            ),
            (
                edit(&good, &good.out, ""),
                "https",
                64,
                "must hold one join token",
            ),
        ] {
            let refused = machine.join("node-a", &printed, scheme)?;
            ensure!(
                refused.code == Some(code),
                "{says}: {:?} {}",
                refused.code,
                refused.err
            );
            ensure!(refused.err.contains(says), "{says}: {}", refused.err);
            ensure!(refused.err.lines().count() == 1, "{}", refused.err);
            ensure!(!refused.err.contains(&good.out), "{}", refused.err);
            ensure!(!machine.state.join("joined.env").exists(), "{says}");
        }
        ensure!(machine.join("node-a", &good, "https")?.code == Some(0));
        Ok(())
    })
}
