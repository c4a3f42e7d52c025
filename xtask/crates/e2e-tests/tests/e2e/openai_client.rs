//! The official `openai` client for Python, unchanged, through the whole way.

use std::time::Duration;

use anyhow::Result;
use child_process::succeed;
use test_client::chain;
use test_clock::wait_for;
use test_cluster::{Cluster, Setting};
use test_tools::{Packages, Tool};

const SOON: Duration = Duration::from_secs(90);
/// How long a control plane that has just started waits for a model that no node has announced yet.
/// There is always a slot for the others.
const UNKNOWN: Setting<'_> = ("ORCHESTRATORD_QUEUE_WAIT_MS", "1000");
/// The version that is tested with.
const CLIENT: &str = "openai==3.54.0";

const SCRIPT: &str = r#"
import sys
from openai import NotFoundError, OpenAI

client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="none needed", max_retries=0)
question = dict(model="tiny", messages=[{"role": "user", "content": "count"}], max_tokens=12, temperature=0)
print("models:" + ",".join(model.id for model in client.models.list()))
print("whole:" + client.chat.completions.create(**question).choices[0].message.content)
stream = client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **question)
text, tokens = "", None
for chunk in stream:
    for choice in chunk.choices:
        text += choice.delta.content or ""
    tokens = chunk.usage.completion_tokens if chunk.usage else tokens
print("stream:" + text)
print("tokens:", tokens)
try:
    client.chat.completions.create(**{**question, "model": "no-such-model"})
except NotFoundError as error:
    print("unknown:", error.code)
"#;

// spec: PATH-13
#[test]
fn the_official_client_works_unchanged() -> Result<()> {
    let packages = match Packages::install("openai", &[CLIENT]) {
        Ok(packages) => packages,
        Err(error) => return Tool::OpenAiClient.leave_out(&format!("{error:#}")),
    };
    Cluster::test("openai", |cluster| {
        let orchestrator = cluster.orchestrator(&[UNKNOWN])?;
        let node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let client = orchestrator.client();
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;

        let said = run(&packages, &orchestrator.url())?;
        let chain = chain(12);
        for line in [
            "models:tiny",
            &format!("whole:{chain}"),
            &format!("stream:{chain}"),
            "tokens: 12",
        ] {
            assert!(
                said.lines().any(|said| said == line),
                "{line:?} is not in:\n{said}"
            );
        }
        assert!(said.contains("unknown: MODEL_NOT_AVAILABLE"), "{said}");
        Ok(())
    })
}

fn run(packages: &Packages, url: &str) -> Result<String> {
    let mut python = packages.python(&[])?;
    succeed(python.args(["-c", SCRIPT, url]).env("NO_PROXY", "*"))
}
