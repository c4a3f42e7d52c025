//! One token on all daemons: demanded everywhere, written nowhere.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use test_client::{Client, End, chain, chat_body};
use test_clock::wait_for;
use test_cluster::Cluster;

const SOON: Duration = Duration::from_secs(90);
/// Found in no log, or something is wrong.
const TOKEN: &str = "canary-7f3a91d2c4b58e60";

// spec: AUTH-1, AUTH-4, AUTH-5
#[test]
fn a_token_is_demanded_and_never_logged() -> Result<()> {
    Cluster::test("auth", |cluster| {
        let settings = [("LLORCH_API_TOKEN", TOKEN), ("RUST_LOG", "trace")];
        let orchestrator = cluster.orchestrator(&settings)?;
        let node = cluster.node("node-a", &orchestrator, &settings)?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let client = orchestrator.client().with_token(TOKEN);
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(client.chat(10)?.text()?, chain(10));

        let path = "/v2/pools/pool-0/engine/v1/chat/completions";
        let body = chat_body(3, false);
        assert_eq!(
            node.client().with_token(TOKEN).post(path, &body)?.text()?,
            chain(3)
        );
        for stranger in [
            |client| client,
            |client: test_client::Client| client.with_token("wrong"),
        ] {
            let to_control = stranger(orchestrator.client());
            assert_eq!(to_control.chat(3)?.status, 401);
            assert_eq!(to_control.get("/v2/nodes")?.status, 401);
            assert_eq!(to_control.delete("/v2/nodes/node-a")?.status, 401);
            assert_eq!(to_control.get("/health")?.status, 200);
            let to_node = stranger(node.client());
            assert_eq!(to_node.post(path, &body)?.status, 401);
            assert_eq!(to_node.get("/health")?.status, 200);
        }

        let logs = cluster.all_logs();
        assert!(logs.iter().filter(|(_, text)| !text.is_empty()).count() >= 3);
        for (name, text) in logs {
            assert!(!text.contains(TOKEN), "the token is in {name}");
            assert!(
                name.starts_with("engine") || !text.contains(" one two"),
                "an answer is in {name}"
            );
        }
        Ok(())
    })
}

// spec: AUTH-1
#[test]
fn the_reference_is_open_and_says_what_else_is() -> Result<()> {
    Cluster::test("auth-reference", |cluster| {
        let settings = [("LLORCH_API_TOKEN", TOKEN)];
        let orchestrator = cluster.orchestrator(&settings)?;
        let node = cluster.node("node-a", &orchestrator, &settings)?;
        let page = ["/", "/assets/{version}/{file}"];
        let reference = ["/docs/api", "/docs/api.css", "/health", "/openapi.json"];
        // A join token is in the body.
        let join = ["/v2/join"];
        assert_eq!(
            open_routes(&orchestrator.client())?,
            [&page[..], &reference, &join].concat()
        );
        assert_eq!(open_routes(&node.client())?, reference);
        Ok(())
    })
}

/// The paths that take a request without a token, after each route of the document has been asked.
fn open_routes(stranger: &Client) -> Result<Vec<String>> {
    let page = stranger.get("/docs/api")?;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("/docs/api.css"), "{}", page.body);
    let document = stranger.get_json("/openapi.json")?;
    let mut open = Vec::new();
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for (method, operation) in item.as_object().context("no methods")? {
            // There is no such resource; with a valid token the answer is 404, or the resource.
            let asked = path.replace(['{', '}'], "x");
            let answer = match method.as_str() {
                "get" => stranger.get(&asked),
                "delete" => stranger.delete(&asked),
                _ => stranger.post(&asked, &json!({})),
            }?;
            let is_open = operation.get("security") == Some(&json!([]));
            assert_eq!(
                answer.status != 401,
                is_open,
                "{method} {path}: {}",
                answer.status
            );
            if is_open {
                open.push(path.clone());
            }
        }
    }
    Ok(open)
}

// spec: AUTH-64
#[test]
fn feeds_end_when_their_key_is_revoked() -> Result<()> {
    Cluster::test("feeds", |cluster| {
        let home = cluster.home(&[("LLORCH_API_TOKEN", TOKEN)])?;
        let operator = home.client().with_token(TOKEN);
        let request = json!({"name": "watcher", "scopes": ["observer"]});
        let created = operator.post("/v2/keys", &request)?.json()?;
        let token = created["token"].as_str().context("no token")?;
        let id = created["key"]["key_id"].as_str().context("no key_id")?;
        let watcher = home.client().with_token(token);
        let feeds = ["/v2/live", "/v2/events"].map(|path| watcher.follow(path));
        let revoked = operator.delete(&format!("/v2/keys/{id}"))?;
        assert_eq!(revoked.status, 200, "{}", revoked.body);
        for feed in feeds {
            let feed = feed?;
            assert_eq!(feed.status, 200);
            // It comes back only when the feed has ended.
            let end = feed.finish().end;
            assert!(matches!(end, End::Silent(_)), "{end:?}");
        }
        Ok(())
    })
}
