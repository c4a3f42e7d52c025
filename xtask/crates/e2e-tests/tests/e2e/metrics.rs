//! What the daemons really export: as the table says, as Prometheus' own tools want it, and found
//! by Prometheus itself.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use child_process::{Group, Process};
use test_client::Client;
use test_clock::wait_for;
use test_cluster::{Cluster, free_port};
use test_tools::Tool;
use workspace_checks::documented_metrics;

const SOON: Duration = Duration::from_secs(90);
/// Prometheus scrapes each second here, but it discovers in its own time.
const SCRAPED: Duration = Duration::from_secs(120);

/// The families on a page of OpenMetrics, by name.
fn families(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| {
            if kind == "info" {
                format!("{name}_info")
            } else {
                name.to_owned()
            }
        })
        .collect()
}

fn check_page(page: &str) -> Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run promtool")?;
    promtool
        .stdin
        .take()
        .context("promtool takes no input")?
        .write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    ensure!(
        output.status.success(),
        "promtool check metrics: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// What a page must have at least and at most.
fn documented(daemon: &str) -> Result<BTreeSet<String>> {
    let rows = documented_metrics()?.into_iter();
    Ok(rows
        .filter(|row| row.daemon == daemon || row.daemon == "both")
        .map(|row| row.name)
        .collect())
}

// spec: SEE-10, SEE-11, SEE-12, SEE-13, SEE-14
#[test]
fn metrics_are_as_documented_and_prometheus_finds_them() -> Result<()> {
    Cluster::test("metrics", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let client = orchestrator.client();
        let node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(client.chat_stream(20)?.finish().status, 200);

        let line = orchestrator
            .log()?
            .wait_line(&["access: request", "outcome=\"served\""], SOON)?;
        for part in [
            "request_id=",
            "trace_id=",
            "model=\"tiny\"",
            "node=\"node-a\"",
            "tokens=",
            "total_ms=",
        ] {
            ensure!(
                line.contains(part) || part == "first_token_ms=",
                "{part} in {line}"
            );
        }

        for (daemon, client) in [
            ("orchestratord", orchestrator.client()),
            ("pool-managerd", node.client()),
        ] {
            let asking = client
                .clone()
                .with_header("accept", "application/openmetrics-text; version=1.0.0");
            let page = asking.get("/metrics")?;
            ensure!(
                page.body.ends_with("# EOF\n"),
                "{daemon}: no OpenMetrics: {}",
                page.body
            );
            let (mut exported, mut promised) = (families(&page.body), documented(daemon)?);
            // Handoffs are counted by the process that watches the directory, which this control
            // plane does not.
            if daemon == "orchestratord" {
                promised.remove("llorch_agent_handoffs");
            }
            let surplus: Vec<_> = exported.difference(&promised).cloned().collect();
            let missing: Vec<_> = promised.difference(&exported).cloned().collect();
            ensure!(
                surplus.is_empty() && missing.is_empty(),
                "{daemon}: not in .docs/METRICS.md: {surplus:?}; not exported: {missing:?}"
            );
            exported.clear();
            promised.clear();
            if Tool::Prometheus.is_here()? {
                check_page(&client.get("/metrics")?.body).context(daemon)?;
            }
        }
        if Tool::Prometheus.is_here()? {
            scrape(cluster, &orchestrator.url(), "")?;
        }
        Ok(())
    })
}

// spec: SEE-13, SEE-16
#[test]
fn prometheus_reads_without_the_token_where_it_is_told_to() -> Result<()> {
    const TOKEN: &str = "a-long-enough-token";
    Cluster::test("metrics-door", |cluster| {
        let token = ("LLORCH_API_TOKEN", TOKEN);
        let orchestrator =
            cluster.orchestrator(&[token, ("ORCHESTRATORD_METRICS_ADDR", "127.0.0.1:0")])?;
        let node = cluster.node(
            "node-a",
            &orchestrator,
            &[token, ("POOL_MANAGERD_METRICS_ADDR", "127.0.0.1:0")],
        )?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let client = orchestrator.client().with_token(TOKEN);
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        let groups = client.get_json("/v2/sd/prometheus")?;
        let mut doors = Vec::new();
        for (group, daemon) in [(0, "orchestratord"), (1, "pool-managerd")] {
            ensure!(groups[group]["labels"]["component"] == daemon, "{groups}");
            let target = groups[group]["targets"][0].as_str().context("no target")?;
            let door = Client::new(&format!("http://{target}"));
            let page = door.get("/metrics")?;
            ensure!(
                page.status == 200 && page.body.contains(daemon),
                "{daemon}: {page:?}"
            );
            ensure!(door.get("/health")?.status == 200, "{daemon}: no /health");
            for path in [
                "/ready",
                "/v2/nodes",
                "/v2/pools",
                "/v1/models",
                "/v2/pools/pool-0/engine/v1/models",
            ] {
                ensure!(door.get(path)?.status == 404, "{daemon}: {path} is served");
            }
            doors.push(target.to_owned());
        }
        ensure!(
            !orchestrator.url().ends_with(&doors[0]) && !node.url().ends_with(&doors[1]),
            "{doors:?}"
        );
        ensure!(
            node.client().get("/metrics")?.status == 401,
            "the node's main door is open"
        );
        if Tool::Prometheus.is_here()? {
            // Only the discovery presents it.
            scrape(
                cluster,
                &orchestrator.url(),
                &format!(", authorization: {{type: Bearer, credentials: {TOKEN}}}"),
            )?;
        }
        Ok(())
    })
}

/// Debian's Prometheus finds both daemons and reads them; `discovery` is what else it is told of
/// how to find them.
fn scrape(cluster: &Cluster, url: &str, discovery: &str) -> Result<()> {
    let directory = cluster.directory().join("prometheus");
    std::fs::create_dir_all(&directory)?;
    let configuration = directory.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: llorch\n    \
         http_sd_configs:\n      \
        - {{url: '{url}/v2/sd/prometheus', refresh_interval: 1s{discovery}}}\n"
    );
    std::fs::write(&configuration, text)?;
    let port = free_port()?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("data").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Process::spawn(
        "prometheus",
        &mut command,
        &cluster.logs().join("prometheus.log"),
        Group::Ours,
    )?;
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let ask = |query: &str| -> Option<u64> {
        let answer = client
            .get_json(&format!("/api/v1/query?query={query}"))
            .ok()?;
        answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    };
    wait_for("Prometheus reads both daemons", SCRAPED, || {
        ask("count(up==1)") == Some(2) && ask("count(llorch_requests_total)").is_some()
    })?;
    wait_for("the agent is known by its node", SCRAPED, || {
        ask("count(llorch_agent_slots%7Bnode=%22node-a%22%7D)") == Some(1)
    })
}
