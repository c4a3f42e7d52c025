//! Spans over OTLP, of daemons that are built with the feature `otlp`, to a collector that keeps
//! what it is sent.

mod collector;

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result};
use fake_engine::{FakeEngine, Script};
use serde_json::json;
use test_client::Client;
use test_clock::wait_for;
use test_cluster::{Cluster, write_handoff};
use workspace_build::Binaries;

use crate::collector::{Collector, Span};

const SOON: Duration = Duration::from_secs(90);
/// Found in no span, or something is wrong.
const PROMPT: &str = "canary-prompt-4711";
const TOKEN: &str = "canary-token-4711";
/// The trace of the request that is looked at, and the span of its client.
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const CLIENT: u64 = 0x00f0_67aa_0ba9_02b7;

/// Whether the whole answer has come.
fn chat(client: &Client, trace: u128) -> bool {
    let client = client
        .clone()
        .with_header("traceparent", &format!("00-{trace:032x}-{CLIENT:016x}-01"));
    let body =
        json!({"model": "tiny", "stream": true, "messages": [{"role": "user", "content": PROMPT}]});
    let answer = client.post("/v1/chat/completions", &body);
    answer.is_ok_and(|answer| answer.body.contains("[DONE]"))
}

/// The one span of this service and name in the request's trace.
fn one<'s>(spans: &'s [Span], service: &str, name: &str) -> Result<&'s Span> {
    let mut found = spans
        .iter()
        .filter(|span| span.trace == TRACE && span.service == service && span.name == name);
    let span = found
        .next()
        .with_context(|| format!("no {name} of {service}"))?;
    assert_eq!(found.next(), None, "a second {name} of {service}");
    Ok(span)
}

// spec: SEE-20
#[test]
fn a_request_is_one_trace_through_both_daemons_and_a_stop_sends_the_last() -> Result<()> {
    Cluster::test("otlp", |cluster| {
        let collector = Collector::start()?;
        let settings = [
            ("LLORCH_API_TOKEN", TOKEN),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=the-tenant"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=the-place",
            ),
            // Longer than any test: what arrives was sent by the stop.
            ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ];
        let mut orchestrator = cluster.orchestrator(&settings)?;
        let mut node = cluster.node("gpu-1", &orchestrator, &settings)?;
        // Only it can say what it was told.
        let engine = FakeEngine::start(Script::default())?;
        let announced = json!({
            "pool_id": "pool-0", "replica_id": "r0", "engine": "llamacpp", "url": engine.url(),
             "slots": 2, "models": ["tiny"],
        });
        write_handoff(node.daemon().directory(), &announced)?;
        let client = orchestrator.client().with_token(TOKEN);
        wait_for("an answer", SOON, || chat(&client, 1))?;
        assert!(chat(&client, TRACE));
        let told = engine.records().pop().context("no request at the engine")?;
        let onward = told
            .header("traceparent")
            .context("no trace for the engine")?;
        assert!(collector.is_idle());
        assert!(node.terminate(SOON)?.success() && orchestrator.terminate(SOON)?.success());

        let sent = collector.received();
        let spans: Vec<Span> = sent.iter().flat_map(|sent| sent.spans()).collect();
        let [near, far] = ["orchestratord", "pool-managerd"];
        let request = one(&spans, near, "request")?;
        let dispatch = one(&spans, near, "dispatch")?;
        assert_eq!(request.parent, CLIENT);
        for name in ["admission", "dispatch", "stream"] {
            assert_eq!(one(&spans, near, name)?.parent, request.id, "{name}");
        }
        assert_eq!(
            one(&spans, near, "placement")?.parent,
            one(&spans, near, "admission")?.id
        );
        // What the node does with a try is a step after it.
        let there = one(&spans, far, "request")?;
        assert_eq!(there.parent, dispatch.id);
        let last = one(&spans, far, "dispatch")?;
        for name in ["admission", "dispatch", "stream"] {
            assert_eq!(one(&spans, far, name)?.parent, there.id, "{name}");
        }
        assert_eq!(onward, format!("00-{TRACE:032x}-{:016x}-01", last.id));
        for (span, name, value) in [
            (request, "outcome", "served"),
            (request, "node", "gpu-1"),
            (there, "request_id", &request.attributes["request_id"]),
        ] {
            assert_eq!(
                span.attributes.get(name).map(String::as_str),
                Some(value),
                "{span:?}"
            );
        }

        for sent in &sent {
            assert!(
                sent.head.starts_with("post /v1/traces http/1.1\r\n"),
                "{}",
                sent.head
            );
            assert!(
                sent.head.contains("x-tenant: the-tenant\r\n"),
                "{}",
                sent.head
            );
            assert!(sent.has("the-place"));
            for secret in [PROMPT, TOKEN, "three", "sixteen"] {
                assert!(!sent.has(secret), "{secret} is in a span");
            }
        }
        Ok(())
    })
}

// spec: SEE-20
#[test]
fn an_endpoint_that_spans_cannot_be_sent_to_is_a_bad_setting() -> Result<()> {
    let Binaries {
        orchestratord,
        pool_managerd,
    } = Binaries::get()?;
    for program in [orchestratord, pool_managerd] {
        for variable in [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ] {
            let output = Command::new(&program)
                .env_clear()
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
                .env(variable, "https://collector:4318")
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(64), "{said}");
            let problem = format!("{variable} must begin with http://, such as http://");
            assert!(said.contains(&problem), "{said}");
        }
    }
    Ok(())
}
