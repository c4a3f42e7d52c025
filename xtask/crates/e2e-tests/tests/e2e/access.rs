//! Who may use which route: every route of both daemons with every kind of credential. And how keys
//! come, change and end, on a machine that had none.

mod certificates;
mod routes;

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use test_client::{Answer, Client, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, write_handoff};
use ureq::Agent;
use workspace_build::llorch;

use self::{
    certificates::{Certificates, RefusedClient, over_tls},
    routes::{AGENT, CONTROL, May, row},
};
use crate::tls::borrowed;

/// Longer than it takes to revoke a key.
const MANY_WORDS: u32 = 1900;
const SOON: Duration = Duration::from_secs(90);
const TOKEN: &str = "canary-api-token-of-the-fleet";
/// The node of the own key; the other key has another.
const NODE: &str = "gpu-1";
const NODE_NAME: &str = "spiffe://llorch/node/gpu-1";
/// The node whose certificates are revoked.
const REVOKED: &str = "gpu-4";

/// A credential, and what a request with it gets if its route is not open.
#[derive(Debug)]
struct Caller {
    what: &'static str,
    token: Option<String>,
    /// It connects with a certificate.
    agent: Option<Agent>,
    /// What its refusal says, if it is no valid credential.
    refused: Option<&'static str>,
    scope: &'static str,
    acts_for_node: bool,
}

fn invalid(what: &'static str, token: Option<String>, says: &'static str) -> Caller {
    Caller {
        what,
        token,
        agent: None,
        refused: Some(says),
        scope: "",
        acts_for_node: false,
    }
}

fn valid(what: &'static str, token: String, scope: &'static str) -> Caller {
    Caller {
        what,
        token: Some(token),
        agent: None,
        refused: None,
        scope,
        acts_for_node: what == "own node",
    }
}

/// Callers with certificates. The one of a node that was revoked is refused where it is known.
fn with_certificates(
    certificates: &Certificates,
    operator: &str,
    knows_revoked: bool,
) -> Result<Vec<Caller>> {
    let caller = |what, names: &[&str], token, scope| {
        Ok::<_, anyhow::Error>(Caller {
            what,
            token,
            agent: Some(certificates.agent(names)?),
            refused: None,
            scope,
            acts_for_node: names.contains(&NODE_NAME),
        })
    };
    let node = |id: &str| format!("spiffe://llorch/node/{id}");
    let own = [NODE_NAME, "127.0.0.1"];
    let operator = Some(operator.to_owned());
    let mut callers = vec![
        caller("certificate of the own node", &own, None, "node")?,
        caller(
            "certificate of another node",
            &[&node("gpu-2")],
            None,
            "node",
        )?,
        // The certificate says who it is.
        caller(
            "the same with the token of an operator",
            &[&node("gpu-2")],
            operator,
            "node",
        )?,
        caller(
            "certificate of the control plane",
            &["spiffe://llorch/control-plane"],
            None,
            "operator",
        )?,
        Caller {
            refused: Some("a token is needed"),
            ..caller("certificate of a stranger", &["app.example"], None, "")?
        },
    ];
    let revoked = caller("revoked certificate", &[&node(REVOKED)], None, "node")?;
    callers.push(Caller {
        refused: knows_revoked.then_some("certificate of this node was revoked"),
        ..revoked
    });
    Ok(callers)
}

impl Caller {
    /// The status of its refusal; `None` when it is let in.
    fn refusal(&self, may: May) -> Option<u16> {
        let is_allowed = match may {
            May::Everyone => return None,
            _ if self.refused.is_some() => return Some(401),
            May::Anyone => true,
            _ if self.scope == "all" => true,
            May::Only(scopes) => scopes.contains(&self.scope),
            May::Itself => self.acts_for_node,
            May::ItselfOrOperators => self.acts_for_node || self.scope == "operator",
            May::ItselfOrReaders => {
                self.acts_for_node || ["observer", "operator"].contains(&self.scope)
            }
        };
        (!is_allowed).then_some(403)
    }

    /// Checks one request.
    fn check(&self, daemon: &Daemon<'_>, method: &str, path: &str, may: May) -> Result<()> {
        let client = match &self.agent {
            Some(agent) => over_tls(daemon.url, agent.clone()),
            None => Client::new(daemon.url),
        };
        let client = match &self.token {
            Some(token) => client.with_token(token),
            None => client,
        };
        let asked = asked(method, path);
        let where_ = format!("{} {method} {path}", self.what);
        let Some(status) = self.refusal(may) else {
            let status = match (method, path) {
                // It has no end.
                ("get", "/v2/live") => client.follow(&asked)?.status,
                _ => send(&client, method, &asked)?.status,
            };
            ensure!(status != 401 && status != 403, "{where_}: {status}");
            return Ok(());
        };
        let answer = send(&client, method, &asked)?;
        ensure!(
            answer.status == status,
            "{where_}: {} {}",
            answer.status,
            answer.body
        );
        let (code, message) = error_of(path, &answer).with_context(|| where_.clone())?;
        let expected = if status == 401 {
            "UNAUTHORIZED"
        } else {
            "FORBIDDEN"
        };
        ensure!(
            code.is_none_or(|code| code == expected),
            "{where_}: {}",
            answer.body
        );
        let says = match (self.refused, &self.agent) {
            (Some(says), _) => says,
            (None, None) => "the key",
            (None, Some(_)) => "the certificate",
        };
        ensure!(message.contains(says), "{where_}: {message}");
        ensure!(
            status != 401 || answer.header("www-authenticate") == "Bearer",
            "{where_}"
        );
        Ok(())
    }
}

fn send(client: &Client, method: &str, path: &str) -> Result<Answer> {
    match method {
        "get" => client.get(path),
        "delete" => client.delete(path),
        "patch" => client.patch(path, &json!({})),
        _ if path == "/v2/nodes/register" => client.post(path, &registration()),
        _ => client.post(path, &json!({})),
    }
}

/// A node that cannot be reached.
fn registration() -> Value {
    json!({"node_id": NODE, "machine_id": "m", "address": "http://127.0.0.1:9", "pools": [],
        "capabilities": {"gpus": [], "cpu_cores": 1, "ram_total_bytes": 1}})
}

/// The code, if the shape has one, and the message of an error in the shape of its API.
fn error_of(path: &str, answer: &Answer) -> Result<(Option<String>, String)> {
    let body: Value = answer.json()?;
    let text = |pointer: &str| {
        body.pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    if path.starts_with("/api/") {
        // Ollama's has no code.
        let message = text("/error").with_context(|| format!("not the shape of {path}: {body}"))?;
        return Ok((None, message));
    }
    let is_anthropic = path.starts_with("/v1/messages") || path == "/messages";
    let is_own = ["/v2/", "/ready", "/metrics"]
        .iter()
        .any(|own| path.starts_with(own));
    let is_right = match (is_anthropic, is_own) {
        (true, _) => body["type"] == "error" && body["error"]["type"].is_string(),
        (_, true) => body["error"]["retriable"].is_boolean(),
        // OpenAI's.
        _ => body["error"]["type"].is_string() && body["error"].get("param").is_some(),
    };
    ensure!(is_right, "not the shape of {path}: {body}");
    let message = text("/error/message").context("no message")?;
    Ok((text("/error/code"), message))
}

/// A path of a document with names in it. The route's own response matters only where it is
/// reached: what is asked for is not there.
fn asked(method: &str, path: &str) -> String {
    let node = match (method, path) {
        // It would end the keys of the callers.
        ("delete", "/v2/nodes/{node_id}/certificate") => "gpu-3",
        _ => NODE,
    };
    path.replace("{node_id}", node).replace(['{', '}'], "x")
}

/// A daemon, and those that it does not even answer.
struct Daemon<'a> {
    url: &'a str,
    unheard: &'a [(&'static str, RefusedClient)],
}

/// Checks all routes of a daemon with all callers; returns how many requests that were.
fn check_all(daemon: &Daemon<'_>, rows: &[(&str, May)], callers: &[Caller]) -> Result<usize> {
    let address: SocketAddr = daemon.url.replace("http://", "").parse()?;
    let document = Client::new(daemon.url).get_json("/openapi.json")?;
    let mut checked = 0;
    let mut used = vec![false; rows.len()];
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for (method, operation) in item.as_object().context("no methods")? {
            let route = format!("{method} {path}");
            let may = row(rows, &route).with_context(|| format!("{route} has no row"))?;
            let is_open = operation.get("security") == Some(&json!([]));
            ensure!(is_open == (may == May::Everyone), "{route} in the document");
            if let Some(at) = rows
                .iter()
                .position(|(begins, _)| route.starts_with(begins))
            {
                used[at] = true;
            }
            for caller in callers {
                caller.check(daemon, method, path, may)?;
                checked += 1;
            }
            for (what, client) in daemon.unheard {
                client
                    .is_refused(address, method, &asked(method, path))
                    .with_context(|| format!("certificate {what}: {route}"))?;
                checked += 1;
            }
        }
    }
    let unused: Vec<&str> = rows
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|(row, _)| row.0)
        .collect();
    ensure!(unused.is_empty(), "rows without a route: {unused:?}");
    Ok(checked)
}

/// Creates a key; returns its id and token.
fn create(operator: &Client, request: &Value) -> Result<(String, String)> {
    let answer = operator.post("/v2/keys", request)?;
    ensure!(answer.status == 200, "{request}: {}", answer.body);
    let answer = answer.json()?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    Ok((text(&answer["key"]["key_id"])?, text(&answer["token"])?))
}

/// The token with another last character.
fn mistyped(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    format!("{rest}{}", if last == "x" { "y" } else { "x" })
}

// spec: AUTH-22, AUTH-24, AUTH-25, AUTH-26, AUTH-32, JOIN-20, JOIN-21, JOIN-22
#[test]
fn every_route_asks_for_its_scope() -> Result<()> {
    Cluster::test("access", |cluster| {
        let certificates = Certificates::new(cluster)?;
        let token = ("LLORCH_API_TOKEN", TOKEN);
        let own = certificates.settings("ORCHESTRATORD_");
        let orchestrator = cluster.orchestrator(&[&borrowed(&own)[..], &[token]].concat())?;
        let control = orchestrator.client();
        let operator = control.clone().with_token(TOKEN);
        let scoped = |scope: &str| create(&operator, &json!({"name": scope, "scopes": [scope]}));
        let of_node = |node: &str| {
            let request = json!({"name": node, "scopes": ["node"], "node": node});
            create(&operator, &request)
        };
        let (_, client) = scoped("client")?;
        let (_, observer) = scoped("observer")?;
        let (_, operators) = scoped("operator")?;
        let (_, own) = of_node(NODE)?;
        let (_, other) = of_node("gpu-2")?;
        let short = json!({"name": "short", "scopes": ["operator"], "expires_in_ms": 1});
        let (_, expired) = create(&operator, &short)?;
        let all = json!({"name": "revoked", "scopes": ["operator"]});
        let (revoked_id, revoked) = create(&operator, &all)?;
        assert_eq!(
            operator.delete(&format!("/v2/keys/{revoked_id}"))?.status,
            200
        );
        wait_for("the end of a key", SOON, || {
            let client = control.clone().with_token(&expired);
            client
                .get("/v2/status")
                .is_ok_and(|answer| answer.status == 401)
        })?;
        let mut callers = vec![
            invalid("no token", None, "a token is needed"),
            invalid("wrong", Some("wrong-token".to_owned()), "not valid"),
            invalid("mistyped", Some(mistyped(&client)), "mistyped"),
            invalid("expired", Some(expired), "expired"),
            invalid("revoked", Some(revoked), "revoked"),
            valid("client", client.clone(), "client"),
            valid("observer", observer.clone(), "observer"),
            valid("operator", operators.clone(), "operator"),
            valid("own node", own.clone(), "node"),
            valid("another's node", other, "node"),
            valid("API token", TOKEN.to_owned(), "all"),
        ];
        let ended = operator.delete(&format!("/v2/nodes/{REVOKED}/certificate"))?;
        ensure!(ended.status == 200, "{}", ended.body);
        let tokens = callers.len();
        callers.extend(with_certificates(&certificates, &operators, true)?);
        let unheard = certificates.refused(&[NODE_NAME])?;
        let daemon = Daemon {
            url: &orchestrator.url(),
            unheard: &unheard,
        };
        println!(
            "control plane: {} requests",
            check_all(&daemon, CONTROL, &callers)?
        );

        // The agent has its keys in a file. There a key is revoked by its removal.
        let file = cluster.directory().join("keys.toml");
        let mut text = String::new();
        for (scope, token) in [
            ("client", &client),
            ("observer", &observer),
            ("operator", &operators),
        ] {
            text += &format!(
                "[[key]]\nname = \"{scope}\"\ntoken = \"{token}\"\nscopes = [\"{scope}\"]\n"
            );
        }
        text += &format!(
            "[[key]]\nname = \"n\"\ntoken = \"{own}\"\nscopes = [\"node\"]\nnode = \"{NODE}\"\n"
        );
        let (_, past) = create(&operator, &json!({"name": "past", "scopes": ["operator"]}))?;
        text += &format!(
            "[[key]]\nname = \"past\"\ntoken = \"{past}\"\nscopes = [\"operator\"]\nexpires = \
             2020-01-01T00:00:00Z\n"
        );
        fs::write(&file, text)?;
        let file = file.to_str().context("a path in UTF-8")?;
        let own = certificates.settings("POOL_MANAGERD_");
        let keys = [token, ("POOL_MANAGERD_KEYS_FILE", file)];
        let settings = [&borrowed(&own)[..], &keys].concat();
        let node = cluster.node("node-a", &orchestrator, &settings)?;
        // Only the control plane knows revoked certificates. None of a node opens a route here.
        callers.truncate(tokens);
        callers.extend(with_certificates(&certificates, &operators, false)?);
        callers.retain(|caller| !["expired", "revoked", "another's node"].contains(&caller.what));
        callers.push(invalid("expired", Some(past), "expired"));
        let daemon = Daemon {
            url: &node.url(),
            unheard: &unheard,
        };
        println!("agent: {} requests", check_all(&daemon, AGENT, &callers)?);
        Ok(())
    })
}

/// Runs `llorch` with a token; returns its exit code and what it wrote to standard output.
fn run(url: &str, token: Option<&str>, arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(llorch()?);
    command.args(arguments).env_clear().env("LLORCH_URL", url);
    command.envs(token.map(|token| ("LLORCH_API_TOKEN", token)));
    let output = command.output()?;
    let code = output.status.code().context("ended by a signal")?;
    Ok((code, String::from_utf8(output.stdout)?.trim().to_owned()))
}

// spec: AUTH-27, AUTH-30, AUTH-31, AUTH-32, AUTH-33, CLI-60, KEEP-60
#[test]
fn keys_are_made_rotated_and_revoked_on_one_machine() -> Result<()> {
    Cluster::test("access-home", |cluster| {
        let audit_file = cluster.directory().join("audit.json");
        let audit_path = audit_file.to_str().context("the path is UTF-8")?;
        let mut home = cluster.home(&[("ORCHESTRATORD_AUDIT_FILE", audit_path)])?;
        let engine = cluster.engine(1)?;
        let handoff = test_cluster::handoff("pool-0", "r0", &engine);
        write_handoff(home.daemon().directory(), &handoff)?;
        let client = home.client();
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;

        let url = home.url();
        let refused = run(&url, None, &["token", "create", "app", "--scope", "client"])?;
        assert_eq!(refused.0, 1, "the first key must be an operator's");
        let (code, admin) = run(
            &url,
            None,
            &["token", "create", "admin", "--scope", "operator"],
        )?;
        assert_eq!(code, 0);
        assert!(admin.starts_with("llorch_"));
        // From now on everyone presents a credential.
        assert_eq!(client.chat(3)?.status, 401);
        assert_eq!(run(&url, None, &["nodes"])?.0, 4);
        let (code, app) = run(
            &url,
            Some(&admin),
            &["token", "create", "app", "--scope", "client"],
        )?;
        assert_eq!(code, 0);
        let as_app = client.clone().with_token(&app);
        assert_eq!(as_app.chat(3)?.text()?, chain(3));
        assert_eq!(run(&url, Some(&app), &["token", "list"])?.0, 4);
        assert_eq!(run(&url, Some(&app), &["token", "check"])?.0, 0);

        // A stream that runs goes on when its key ends.
        let mut stream = as_app.chat_stream(MANY_WORDS)?;
        let begins = stream.next_text()?.text();
        let (code, newer) = run(
            &url,
            Some(&admin),
            &["token", "rotate", "app", "--overlap", "0s"],
        )?;
        assert_eq!(code, 0);
        assert_eq!(as_app.chat(3)?.status, 401);
        assert_eq!(run(&url, Some(&admin), &["token", "revoke", "app"])?.0, 0);
        assert_eq!(client.with_token(&newer).chat(3)?.status, 401);
        assert_eq!(run(&url, Some(&admin), &["token", "revoke", "admin"])?.0, 1);
        assert_eq!(begins + &stream.finish().text(), chain(MANY_WORDS as usize));

        home.kill();
        home.restart()?;
        let (code, list) = run(&home.url(), Some(&admin), &["token", "list"])?;
        assert_eq!(code, 0);
        for line in list.lines().filter(|line| line.contains(" app ")) {
            assert!(line.contains("revoked"), "{list}");
        }
        assert_eq!(run(&home.url(), Some(&admin), &["nodes"])?.0, 0);
        assert_eq!(home.client().chat(3)?.status, 401);

        let drained = home
            .client()
            .with_token(&admin)
            .post("/v2/nodes/none/drain", &json!({}))?;
        assert_eq!(drained.status, 404);
        let audit = std::fs::read_to_string(&audit_file)?;
        let said = |line: &str| audit.lines().any(|found| found.contains(line));
        for line in [
            r#""what":"create key "#,
            r#""what":"rotate key "#,
            r#""what":"revoke key "#,
            r#""what":"POST /v2/nodes/none/drain","status":404,"result":"UNKNOWN_NODE""#,
            r#""code":"UNAUTHORIZED""#,
            r#""code":"FORBIDDEN""#,
        ] {
            assert!(said(line), "{line} is not in {audit}");
        }
        for line in audit.lines() {
            serde_json::from_str::<Value>(line).context("a line of the audit log")?;
        }
        let logs = cluster.all_logs().into_iter();
        for (name, text) in logs.chain([("the audit log".to_owned(), audit)]) {
            for token in [&admin, &app, &newer] {
                assert!(!text.contains(&token[7..50]), "a token is in {name}");
            }
        }
        Ok(())
    })
}
