//! `pool-managerd check` in good set-ups and bad ones.

use anyhow::{Context, Result};
use fake_nvml::{FakeNvml, GPU_IS_LOST, Gpu};
use serde_json::Value;
use test_cluster::{Cluster, Setting, free_port};

/// The token of the fleet, and another one.
const TOKEN: (&str, &str) = ("LLORCH_API_TOKEN", "a-long-enough-token");
const OTHER_TOKEN: (&str, &str) = ("LLORCH_API_TOKEN", "quite-another-token");
/// A free port, so that checks beside one another do not meet.
const ADDR: (&str, &str) = ("POOL_MANAGERD_ADDR", "127.0.0.1:0");

/// One line of the report.
#[derive(Debug)]
struct Finding {
    verdict: String,
    subject: String,
    found: String,
    hint: Option<String>,
}

/// The exit code and what was found. What is not right always says the fix.
fn check(cluster: &Cluster, settings: &[Setting<'_>]) -> Result<(Option<i32>, Vec<Finding>)> {
    let (code, said) = cluster.check_node(&["--json"], settings)?;
    let report: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    let text = |finding: &Value, key: &str| finding[key].as_str().map(str::to_owned);
    let findings = report["findings"].as_array().context("no findings")?.iter();
    let findings = findings.map(|finding| {
        Some(Finding {
            verdict: text(finding, "verdict")?,
            subject: text(finding, "subject")?,
            found: text(finding, "found")?,
            hint: text(finding, "hint"),
        })
    });
    let findings: Vec<Finding> = findings.collect::<Option<_>>().context("half a finding")?;
    for finding in &findings {
        assert_eq!(
            finding.hint.is_none(),
            finding.verdict == "ok",
            "{finding:?}"
        );
    }
    Ok((code, findings))
}

/// Asserts that the one finding about `subject` that is not right is this one.
fn assert_found(findings: &[Finding], verdict: &str, subject: &str, part: &str) {
    let fits =
        |finding: &&Finding| finding.verdict == verdict && finding.subject.starts_with(subject);
    assert!(
        findings
            .iter()
            .filter(fits)
            .any(|finding| finding.found.contains(part)),
        "no {verdict} about {subject} with {part:?} in {findings:#?}"
    );
}

fn pool(id: &str, binary: &str, model: &str, devices: &str) -> String {
    format!(
        "[[pool]]\nid = {id:?}\nengine = \"llamacpp\"\nbinary = {binary:?}\nmodel = {model:?}\n\
         slots = 2\n\
         context = 2048\ndevice_mask = {devices:?}\n\n"
    )
}

// spec: CHECK-1, CHECK-2, CHECK-3, CHECK-4, CHECK-5
#[test]
fn what_is_right_and_what_is_wrong_is_told_before_a_start() -> Result<()> {
    Cluster::test("check", |cluster| {
        let utf8 = |path: &std::path::Path| {
            path.to_str()
                .map(str::to_owned)
                .context("not a path in UTF-8")
        };
        let driver = FakeNvml::new()?;
        let library = utf8(driver.directory())?;
        let orchestrator = cluster.orchestrator(&[TOKEN])?;
        let url = orchestrator.url();
        let (program, model) = (utf8(cluster.llama_server())?, utf8(cluster.model())?);
        let file = cluster.directory().join("pools.toml");
        std::fs::write(&file, pool("chat", &program, &model, "GPU0"))?;
        let pools_file = utf8(&file)?;
        let good = [
            TOKEN,
            ADDR,
            ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
            ("POOL_MANAGERD_NODE_ID", "gpu-1"),
            ("POOL_MANAGERD_ADDRESS", "http://localhost:9200"),
            ("ORCHESTRATORD_URL", url.as_str()),
            ("POOL_MANAGERD_POOLS_FILE", pools_file.as_str()),
            ("LD_LIBRARY_PATH", library.as_str()),
        ];
        let with = |more: &[Setting<'static>]| check(cluster, &[&good[..], more].concat());

        let (code, table) = cluster.check_node(&[], &good)?;
        println!("{table}");
        assert_eq!(code, Some(0), "{table}");
        assert!(table.ends_with("0 errors, 0 warnings\n"), "{table}");
        let (_, findings) = with(&[])?;
        for (subject, part) in [
            (
                "GPU1",
                "NVIDIA GeForce RTX 3090 (GPU-1000), 24.0 of 24.0 GB free, driver 580.99.01",
            ),
            ("pool chat", "they can be started"),
            ("orchestratord http", "this node may join, version 0."),
            ("POOL_MANAGERD_STATE_DIR", "will be created"),
        ] {
            assert_found(&findings, "ok", subject, part);
        }
        assert!(
            !cluster.directory().join(".runtime").exists(),
            "something was made"
        );

        // Every bad setting at once, and one that there is not.
        let (code, findings) = with(&[
            ("POOL_MANAGERD_NODE_ID", "a b"),
            ("POOL_MANAGERD_WATCH_INTERVAL_MS", "soon"),
            ("POOL_MANAGERD_WATCH_INTERVALL", "7"),
        ])?;
        assert_eq!(code, Some(1));
        assert_found(&findings, "error", "POOL_MANAGERD_NODE_ID", "a b");
        assert_found(
            &findings,
            "error",
            "POOL_MANAGERD_WATCH_INTERVAL_MS",
            "must be a whole number",
        );
        assert_found(
            &findings,
            "warning",
            "POOL_MANAGERD_WATCH_INTERVALL",
            "is no setting",
        );

        // Who does not let us join, and why.
        let (code, findings) = with(&[OTHER_TOKEN])?;
        assert_eq!(code, Some(1));
        assert_found(
            &findings,
            "error",
            "orchestratord http",
            "does not accept the token",
        );
        let home = cluster.home(&[])?;
        let unreachable = format!("http://127.0.0.1:{}", free_port()?);
        let home_url = home.url();
        let several = format!("{unreachable},{home_url}");
        let (_, findings) = check(
            cluster,
            &[&good[..], &[("ORCHESTRATORD_URL", several.as_str())]].concat(),
        )?;
        assert_found(
            &findings,
            "error",
            &format!("orchestratord {unreachable}"),
            "cannot be reached",
        );
        assert_found(
            &findings,
            "error",
            &format!("orchestratord {home_url}"),
            "HOME profile",
        );

        // Engines that could not start, on GPUs that are not there.
        let bad = [
            pool("a", "/nowhere/llama-server", &model, "GPU0"),
            pool("b", &program, "/nowhere/model.gguf", "GPU0"),
            pool("c", &program, &pools_file, "GPU7"),
        ];
        std::fs::write(&file, bad.concat())?;
        let gpus = [
            Gpu::numbered(0),
            Gpu {
                code: GPU_IS_LOST,
                ..Gpu::numbered(1)
            },
        ];
        driver.set(&gpus)?;
        std::fs::write(cluster.directory().join("not-a-directory"), "")?;
        let (code, findings) = with(&[("POOL_MANAGERD_STATE_DIR", "not-a-directory")])?;
        assert_eq!(code, Some(1));
        assert_found(
            &findings,
            "error",
            "POOL_MANAGERD_STATE_DIR",
            "is not a directory",
        );
        assert_found(&findings, "warning", "GPU1", "does not answer any more");
        assert_found(&findings, "error", "pool a", "there is no program");
        assert_found(&findings, "error", "pool b", "there is no model file");
        assert_found(&findings, "error", "pool c", "is not a GGUF file");
        assert_found(&findings, "error", "pool c", "GPU7");
        println!(
            "{}",
            cluster
                .check_node(&[], &[&good[..], &[OTHER_TOKEN]].concat())?
                .1
        );

        assert_eq!(cluster.check_node(&["--yaml"], &good)?.0, Some(64));
        Ok(())
    })
}
