//! Who may use which route: every route of both daemons with every kind of credential. And how keys
//! come, change and end, on a machine that had none.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use test_client::{Answer, Client, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, write_handoff};
use workspace_build::llorch;

/// Longer than it takes to revoke a key.
const MANY_WORDS: u32 = 1900;
const SOON: Duration = Duration::from_secs(90);
const TOKEN: &str = "canary-api-token-of-the-fleet";
/// The node of the own key; the other key has another.
const NODE: &str = "gpu-1";

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// Everyone, without a token too.
    Everyone,
    /// Every valid token.
    Anyone,
    /// Keys with one of these scopes, and the API token.
    Only(&'static [&'static str]),
    /// The node itself, and the API token.
    Itself,
    /// The node itself, operators, and the API token.
    ItselfOrOperators,
    /// The node itself, observers, operators, and the API token.
    ItselfOrReaders,
}

const CLIENTS: May = May::Only(&["client", "operator"]);
const READERS: May = May::Only(&["observer", "operator"]);
const BOTH: May = May::Only(&["client", "observer", "operator"]);
const OPERATORS: May = May::Only(&["operator"]);

/// The routes of the control plane by the beginning of method and path; the first row counts.
const CONTROL: &[(&str, May)] = &[
    ("get /v2/catalog/availability", BOTH),
    ("post /v2/placement/explain", BOTH),
    ("post /v2/nodes/register", May::Itself),
    ("post /v2/nodes/{node_id}/heartbeat", May::Itself),
    ("post /v2/nodes/{node_id}/certificate", May::Itself),
    ("delete /v2/nodes/{node_id}/certificate", OPERATORS),
    ("delete /v2/nodes/{node_id}", May::ItselfOrOperators),
    ("get /v2/nodes/{node_id}", May::ItselfOrReaders),
    ("post /v2/join-tokens", OPERATORS),
    ("get /v2/join-tokens", OPERATORS),
    ("delete /v2/join-tokens/", OPERATORS),
    ("post /v2/join", May::Everyone),
    ("post /v2/nodes/{node_id}/drain", OPERATORS),
    ("post /v2/nodes/{node_id}/undrain", OPERATORS),
    ("post /v2/pools/{node_id}/", OPERATORS),
    ("get /v2/nodes", READERS),
    ("get /v2/pools", READERS),
    ("get /v2/gpus", READERS),
    ("get /v2/status", READERS),
    ("get /v2/events", READERS),
    ("get /v2/live", READERS),
    ("get /v2/session", May::Anyone),
    ("post /v2/session", May::Anyone),
    ("delete /v2/session", May::Anyone),
    ("get /v2/sd/prometheus", READERS),
    ("get /metrics", READERS),
    ("get /ready", May::Anyone),
    ("get /health", May::Everyone),
    ("get /openapi.json", May::Everyone),
    ("get /docs/api", May::Everyone),
    ("get /assets/", May::Everyone),
    ("get /v2/tasks", CLIENTS),
    ("post /v2/tasks", CLIENTS),
    ("get /v2/usage", READERS),
    ("post /v2/store/export", OPERATORS),
    ("get /v2/keys", OPERATORS),
    ("post /v2/keys", OPERATORS),
    ("patch /v2/keys/{key_id}", OPERATORS),
    ("delete /v2/keys/{key_id}", OPERATORS),
    ("get /v1/", CLIENTS),
    ("post /v1/", CLIENTS),
    ("delete /v1/responses/{response_id}", CLIENTS),
    ("get /api/", CLIENTS),
    ("post /api/", CLIENTS),
    ("get /models", CLIENTS),
    ("post /audio/", CLIENTS),
    ("post /chat/completions", CLIENTS),
    ("post /messages", CLIENTS),
    ("post /responses", CLIENTS),
    ("post /apply-template", CLIENTS),
    ("post /classify", CLIENTS),
    ("post /completion", CLIENTS),
    ("post /detokenize", CLIENTS),
    ("post /embedding", CLIENTS),
    ("post /infill", CLIENTS),
    ("post /pooling", CLIENTS),
    ("get /props", CLIENTS),
    ("post /rerank", CLIENTS),
    ("post /score", CLIENTS),
    ("post /tokenize", CLIENTS),
];

/// The routes of the agent.
const AGENT: &[(&str, May)] = &[
    ("get /v2/pools/{pool_id}/engine/", CLIENTS),
    ("post /v2/pools/{pool_id}/engine/", CLIENTS),
    ("post /v2/pools/{pool_id}/", OPERATORS),
    ("get /v2/pools", READERS),
    ("get /v2/gpus", READERS),
    ("get /metrics", READERS),
    ("get /ready", May::Anyone),
    ("get /health", May::Everyone),
    ("get /openapi.json", May::Everyone),
    ("get /docs/api", May::Everyone),
];

/// The row of a route. `GET /` is the page and no prefix of others.
fn row(rows: &[(&str, May)], route: &str) -> Option<May> {
    if route == "get /" {
        return Some(May::Everyone);
    }
    let found = rows.iter().find(|(begins, _)| route.starts_with(begins));
    found.map(|(_, may)| *may)
}

/// A credential, and what a request with it gets if its route is not open.
#[derive(Debug)]
struct Caller {
    what: &'static str,
    token: Option<String>,
    /// What its refusal says, if it is no valid credential.
    refused: Option<&'static str>,
    scope: &'static str,
    acts_for_node: bool,
}

fn invalid(what: &'static str, token: Option<String>, says: &'static str) -> Caller {
    Caller {
        what,
        token,
        refused: Some(says),
        scope: "",
        acts_for_node: false,
    }
}

fn valid(what: &'static str, token: String, scope: &'static str) -> Caller {
    Caller {
        what,
        token: Some(token),
        refused: None,
        scope,
        acts_for_node: what == "own node",
    }
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
    fn check(&self, daemon: &Client, method: &str, path: &str, may: May) -> Result<()> {
        let client = daemon.clone();
        let client = match &self.token {
            Some(token) => client.with_token(token),
            None => client,
        };
        // The route's own response matters only where it is reached: what is asked for is not
        // there.
        let node = match (method, path) {
            // It would end the keys of the callers.
            ("delete", "/v2/nodes/{node_id}/certificate") => "gpu-3",
            _ => NODE,
        };
        let asked = path.replace("{node_id}", node).replace(['{', '}'], "x");
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
        let says = self.refused.unwrap_or("the key");
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

/// Checks all routes of a daemon with all callers; returns how many requests that were.
fn check_all(daemon: &Client, rows: &[(&str, May)], callers: &[Caller]) -> Result<usize> {
    let document = daemon.get_json("/openapi.json")?;
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

// spec: AUTH-22, AUTH-24, AUTH-25, AUTH-26, AUTH-32
#[test]
fn every_route_asks_for_its_scope() -> Result<()> {
    Cluster::test("access", |cluster| {
        let settings = [("LLORCH_API_TOKEN", TOKEN)];
        let orchestrator = cluster.orchestrator(&settings)?;
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
        println!(
            "control plane: {} requests",
            check_all(&control, CONTROL, &callers)?
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
        let settings = [settings[0], ("POOL_MANAGERD_KEYS_FILE", file)];
        let node = cluster.node("node-a", &orchestrator, &settings)?;
        callers.retain(|caller| !["expired", "revoked", "another's node"].contains(&caller.what));
        callers.push(invalid("expired", Some(past), "expired"));
        println!(
            "agent: {} requests",
            check_all(&node.client(), AGENT, &callers)?
        );
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
