//! The table of clients and features in `.docs/CLIENTS.md`.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e_tests::WRITE_CLIENTS;

/// A client that is tested.
#[derive(Debug)]
pub(super) struct ClientRow {
    pub(super) name: &'static str,
    pub(super) language: Language,
    pub(super) package: &'static str,
    pub(super) version: &'static str,
    pub(super) script: &'static str,
    /// What its users set.
    settings: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Node,
}

/// All clients, in the order of the page. The versions for Node are also in `package.json`.
pub(super) const CLIENTS: [ClientRow; 9] = [
    ClientRow {
        name: "openai-python",
        language: Language::Python,
        package: "openai",
        version: "3.54.0",
        script: "openai_python.py",
        settings: "`OPENAI_BASE_URL=http://HOST:8080/v1`, `OPENAI_API_KEY`",
    },
    ClientRow {
        name: "openai-node",
        language: Language::Node,
        package: "openai",
        version: "6.49.0",
        script: "openai_node.mjs",
        settings: "`OPENAI_BASE_URL=http://HOST:8080/v1`, `OPENAI_API_KEY`",
    },
    ClientRow {
        name: "anthropic-python",
        language: Language::Python,
        package: "anthropic",
        version: "2.14.0",
        script: "anthropic_python.py",
        settings: "`ANTHROPIC_BASE_URL=http://HOST:8080`, `ANTHROPIC_API_KEY`",
    },
    ClientRow {
        name: "anthropic-node",
        language: Language::Node,
        package: "@anthropic-ai/sdk",
        version: "1.14.0",
        script: "anthropic_node.mjs",
        settings: "`ANTHROPIC_BASE_URL=http://HOST:8080`, `ANTHROPIC_API_KEY`",
    },
    ClientRow {
        name: "Vercel AI SDK",
        language: Language::Node,
        package: "ai",
        version: "6.0.326",
        script: "vercel_ai_node.mjs",
        settings: "`baseURL: \"http://HOST:8080/v1\"`, `apiKey`, for each of its providers \
                   `openai-compatible`, `openai` and `anthropic`",
    },
    ClientRow {
        name: "langchain-openai",
        language: Language::Python,
        package: "langchain-openai",
        version: "1.7.4",
        script: "langchain_openai_python.py",
        settings: "`base_url=\"http://HOST:8080/v1\"`, `api_key`; for embeddings also \
                   `check_embedding_ctx_length=False`",
    },
    ClientRow {
        name: "LiteLLM",
        language: Language::Python,
        package: "litellm",
        version: "1.110.2",
        script: "litellm_python.py",
        settings: "`api_base=\"http://HOST:8080/v1\"`, `api_key`, models as `openai/NAME`; or \
                   `api_base=\"http://HOST:8080\"` and `anthropic/NAME`",
    },
    ClientRow {
        name: "ollama-python",
        language: Language::Python,
        package: "ollama",
        version: "0.6.3",
        script: "ollama_python.py",
        settings: "`OLLAMA_HOST=http://HOST:8080`; a token as \
                   `Client(headers={\"Authorization\": \"Bearer …\"})`",
    },
    ClientRow {
        name: "huggingface_hub",
        language: Language::Python,
        package: "huggingface_hub",
        version: "2.4.0",
        script: "huggingface_hub_python.py",
        settings: "`InferenceClient(base_url=\"http://HOST:8080/v1\", api_key=…)`",
    },
];

/// Each feature as a script and as a column calls it.
const FEATURES: [(&str, &str); 8] = [
    ("list", "list models"),
    ("retrieve", "one model"),
    ("chat", "chat"),
    ("stream", "stream"),
    ("cancel", "cancel"),
    ("errors", "errors"),
    ("responses", "responses"),
    ("embeddings", "embeddings"),
];

const HEAD: &str = "\
# Clients

The official clients that are tested, unchanged, with a real `llama-server`: in both profiles, with
a token and without one. `cargo xtask e2e --write-clients` writes this page from what the tests
`official_clients_work_in_home` and `official_clients_work_in_cloud` find; otherwise they fail when
it differs.

";

const AFTER_TABLE: &str = "
**yes**: it works. **–**: the client does not have it, or it needs no test of its own. *One model*
asks for a model whose name holds a `/`. *Cancel* leaves a stream in its middle, and the slot is
free again. *Errors* shows the reason for an unknown model, and with a token that for a wrong one.

## What to set

Replace `HOST` by the machine of `orchestratord`. Without a token any key is accepted; most clients
refuse an empty one.

";

/// Whether a script may report a feature.
pub(super) fn is_feature(name: &str) -> bool {
    FEATURES.iter().any(|(feature, _)| *feature == name)
}

fn page() -> PathBuf {
    workspace_build::root().join(".docs/CLIENTS.md")
}

/// The row of a client.
fn row(client: &ClientRow, works: &BTreeSet<String>) -> String {
    let cells: Vec<&str> = FEATURES
        .iter()
        .map(|(feature, _)| {
            if works.contains(*feature) {
                "yes"
            } else {
                "–"
            }
        })
        .collect();
    format!(
        "| {} {} | {} |\n",
        client.name,
        client.version,
        cells.join(" | ")
    )
}

/// Compares the page with what worked: for each client that ran, the features of all its runs.
/// Writes the page instead when [`WRITE_CLIENTS`] is set and all clients ran.
pub(super) fn check(ran: &[(&ClientRow, BTreeSet<String>)]) -> Result<()> {
    let mut rows = String::new();
    let found = std::fs::read_to_string(page()).unwrap_or_default();
    let mut are_complete = true;
    let mut is_stale = false;
    for client in &CLIENTS {
        let mut runs = ran.iter().filter(|(row, _)| row.name == client.name);
        let Some((_, works)) = runs.next() else {
            are_complete = false;
            continue;
        };
        for (_, again) in runs {
            ensure!(works == again, "{} differs with a token", client.name);
        }
        let row = row(client, works);
        is_stale |= !found.contains(&row);
        rows.push_str(&row);
    }
    let expected = format!("{HEAD}{}{rows}{AFTER_TABLE}{}", columns(), what_to_set());
    if are_complete {
        is_stale |= found != expected;
    }
    if !is_stale {
        return Ok(());
    }
    let page = page();
    if are_complete && std::env::var_os(WRITE_CLIENTS).is_some() {
        return std::fs::write(&page, expected).context("cannot write the page");
    }
    let page = page.display();
    anyhow::bail!("{page} is stale, run `cargo xtask e2e --write-clients`:\n{expected}")
}

fn columns() -> String {
    let names: Vec<&str> = FEATURES.iter().map(|(_, column)| *column).collect();
    let rules = "---|".repeat(names.len());
    format!("| client | {} |\n|---|{rules}\n", names.join(" | "))
}

fn what_to_set() -> String {
    let mut list = String::from("| client | settings |\n|---|---|\n");
    for client in &CLIENTS {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "| {} | {} |", client.name, client.settings);
    }
    list
}
