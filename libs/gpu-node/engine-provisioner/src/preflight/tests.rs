//! Tests of the checks before a start.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::PoolFile;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fixture.file("engine", b"#!/bin/sh\n", 0o755);
        fixture.file("model.gguf", b"GGUF\x03\0\0\0", 0o644);
        fixture
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn spec(&self, binary: &str, model: &str, more: &str) -> PoolSpec {
        let dir = self.dir.path().display();
        let text = format!(
            "[[pool]]\nid = \"p\"\nengine = \"llamacpp\"\nbinary = \"{dir}/{binary}\"\n\
             model = \"{dir}/{model}\"\nslots = 1\ncontext = 8\n{more}\n"
        );
        PoolFile::parse(&text).unwrap().pools.remove(0)
    }
}

fn problems(spec: &PoolSpec) -> String {
    summary(&preflight(spec)).unwrap_or_default()
}

// spec: PROV-8
#[test]
fn all_missing_things_are_reported_together() {
    let fixture = Fixture::new();
    assert_eq!(problems(&fixture.spec("engine", "model.gguf", "")), "");
    fixture.file("text", b"no program", 0o644);
    fixture.file("empty.gguf", b"", 0o644);
    fixture.file("other.gguf", b"PK\x03\x04", 0o644);
    for (binary, model, expected) in [
        ("nothing", "model.gguf", "there is no program"),
        ("text", "model.gguf", "text cannot be executed"),
        (".", "model.gguf", "cannot be executed"),
        ("engine", "nothing.gguf", "there is no model file"),
        ("engine", "empty.gguf", "empty.gguf is not a GGUF file"),
        ("engine", "other.gguf", "other.gguf is not a GGUF file"),
        ("engine", ".", "cannot be read"),
    ] {
        let found = problems(&fixture.spec(binary, model, ""));
        assert!(found.contains(expected), "{binary} {model}: {found}");
    }
    let both = problems(&fixture.spec("nothing", "nothing.gguf", ""));
    assert!(
        both.contains("no program") && both.contains("no model"),
        "{both}"
    );
}

#[test]
fn a_program_is_searched_in_the_path_of_the_engine() {
    let fixture = Fixture::new();
    let spec = |path: &str| {
        let text = format!(
            "[[pool]]\nid = \"p\"\nengine = \"x\"\ncommand = [\"engine\", \"{{port}}\"]\n\
             slots = 1\nenv = {{ PATH = \"{path}\" }}\n"
        );
        PoolFile::parse(&text).unwrap().pools.remove(0)
    };
    assert_eq!(
        problems(&spec(&format!("/nowhere:{}", fixture.dir.path().display()))),
        ""
    );
    assert!(problems(&spec("/nowhere")).contains("there is no program engine"));
}

// spec: PROV-8
#[test]
fn a_fixed_port_must_be_free() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let spec = fixture.spec("engine", "model.gguf", &format!("port = {port}"));
    assert!(
        problems(&spec).contains(&format!("port {port} of 127.0.0.1 is taken")),
        "{}",
        problems(&spec)
    );
    drop(listener);
    assert_eq!(problems(&spec), "");
}

#[test]
fn a_model_needs_as_much_vram_as_its_size() {
    let fixture = Fixture::new();
    for (name, size) in [
        ("m-00001-of-00002.gguf", 100),
        ("m-00002-of-00002.gguf", 20),
    ] {
        fixture.file(name, &vec![0; size], 0o644);
    }
    for (model, more, needed) in [
        ("model.gguf", "", 8),
        ("m-00001-of-00002.gguf", "", 120),
        ("m-00002-of-00002.gguf", "", 20),
        ("nothing.gguf", "", 0),
        ("model.gguf", "device_mask = \"GPU0\"", 8),
        ("model.gguf", "device_mask = \"none\"", 0),
        ("model.gguf", "args = [\"-ngl\", \"10\"]", 0),
        ("model.gguf", "args = [\"--n-gpu-layers=10\"]", 0),
    ] {
        assert_eq!(
            vram_needed(&fixture.spec("engine", model, more)),
            needed,
            "{model} {more}"
        );
    }
}

// spec: PROV-8
#[test]
fn a_check_counts_all_engines_of_a_file_together() {
    let fixture = Fixture::new();
    let dir = fixture.dir.path().display();
    let pool = |id: &str, model: &str, replicas: u32| {
        format!(
            "[[pool]]\nid = \"{id}\"\nengine = \"llamacpp\"\nbinary = \"{dir}/engine\"\n\
             model = \"{dir}/{model}\"\nslots = 1\ncontext = 8\nreplicas = {replicas}\n"
        )
    };
    let text =
        pool("a", "model.gguf", 2) + &pool("b", "nothing.gguf", 1) + &pool("c", "model.gguf", 1);
    let file = PoolFile::parse(&text).unwrap();
    let found = |free: u64| -> Vec<(String, String, &str)> {
        let findings = check_pool_file(&file, Arc::new(move |_| Some(free)));
        let line = |finding: PreflightFinding| {
            let what = finding.error.to_string();
            (finding.pool_id.to_string(), what, finding.error.hint())
        };
        findings.into_iter().map(line).collect()
    };
    // Each needs the eight bytes of its model.
    let enough = found(24);
    assert_eq!(enough.len(), 1, "{enough:?}");
    assert_eq!(enough[0].0, "b");
    assert!(
        enough[0].1.starts_with("there is no model file"),
        "{enough:?}"
    );
    assert!(enough[0].2.contains("correct `model`"), "{enough:?}");
    let too_little = found(23);
    assert_eq!(too_little.len(), 2, "{too_little:?}");
    assert_eq!(too_little[1].0, "c");
    assert!(too_little[1].1.contains("VRAM"), "{too_little:?}");
}
