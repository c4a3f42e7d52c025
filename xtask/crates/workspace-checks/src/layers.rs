//! The layer law: which crate may depend on which, and who owns a special dependency.
//!
//! `gpu-node`, `control-plane`, `data-plane` and `client` meet in `shared` and in the binaries,
//! never in one another, so that each can be understood, tested and replaced alone. A dependency
//! that shapes a design has one owner; other crates use the owner's interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use workspace_build::{cargo, root};

use crate::{fail_on, features};

/// The layer of a crate, by its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Shared,
    GpuNode,
    ControlPlane,
    DataPlane,
    Client,
    TestSupport,
    Binary,
    Xtask,
}

/// Dependencies with owners. Tests may use them anywhere, and so may the crates that only tests
/// depend on.
const OWNED: [(&str, &[&str]); 18] = [
    ("notify", &["handoff-watcher"]),
    ("nvml-wrapper", &["gpu-inventory"]),
    ("subtle", &["bearer-auth"]),
    ("tracing-subscriber", &["telemetry"]),
    ("rustls", &["tls-config"]),
    ("rustls-native-certs", &["tls-config"]),
    ("rcgen", &["node-ca", "node-join"]),
    ("tokio-rustls", &["tls-stream"]),
    ("x509-cert", &["tls-config", "node-ca"]),
    (
        "ureq",
        &[
            "node-join",
            "node-registration",
            "llorch-client",
            "telemetry",
            "tls-ureq",
        ],
    ),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry-http", &["telemetry"]),
    ("opentelemetry-otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("tracing-opentelemetry", &["telemetry"]),
    ("redb", &["registry-store"]),
    ("sd-notify", &["service-runtime"]),
    ("listenfd", &["service-runtime"]),
];

/// Features of dependencies with owners.
const OWNED_FEATURES: [(&str, &str, &[&str]); 2] = [
    ("hyper", "server", &["http-server"]),
    // Requests to upstreams are stream-proxy's, which has a client of its own.
    ("hyper", "client", &[]),
];

/// Crates that must not reach an async runtime, not even through others of ours: pure cores, and
/// the agent that is to be embedded anywhere.
const WITHOUT_TOKIO: [&str; 11] = [
    "pool-registry-types",
    "routing-table",
    "service-registry",
    "placement",
    "node-registration",
    "llorch-client",
    "state-file",
    "local-limits",
    "sse",
    "tls-config",
    "tls-ureq",
];

/// A dependency as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dependency {
    name: String,
    features: Vec<String>,
    for_tests: bool,
}

/// A crate of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) manifest: PathBuf,
    /// Whether it may go to a registry.
    pub(crate) is_published: bool,
    /// The root files of the library, binaries, tests, examples and benchmarks.
    pub(crate) targets: Vec<PathBuf>,
    dependencies: Vec<Dependency>,
}

/// All crates of the workspace.
pub(crate) fn members() -> Result<Vec<Member>> {
    let output = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ])
    .output()
    .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    packages
        .iter()
        .map(|package| member(package).context("cargo metadata has an unknown form"))
        .collect()
}

fn member(package: &Value) -> Option<Member> {
    let dependencies = package["dependencies"].as_array()?;
    let targets = package["targets"].as_array()?;
    let dependency = |value: &Value| {
        let features = value["features"].as_array()?;
        Some(Dependency {
            name: value["name"].as_str()?.to_owned(),
            features: features
                .iter()
                .filter_map(|feature| feature.as_str().map(str::to_owned))
                .collect(),
            for_tests: value["kind"] == "dev",
        })
    };
    Some(Member {
        name: package["name"].as_str()?.to_owned(),
        manifest: PathBuf::from(package["manifest_path"].as_str()?),
        // Without the key, null: every registry. An empty list: none.
        is_published: package["publish"]
            .as_array()
            .is_none_or(|registries| !registries.is_empty()),
        targets: targets
            .iter()
            .map(|target| target["src_path"].as_str().map(PathBuf::from))
            .collect::<Option<_>>()?,
        dependencies: dependencies.iter().map(dependency).collect::<Option<_>>()?,
    })
}

/// The names of the crates that may go to a registry.
///
/// # Errors
/// When cargo metadata fails.
pub fn published() -> Result<Vec<String>> {
    let members = members()?.into_iter();
    Ok(members
        .filter(|member| member.is_published)
        .map(|member| member.name)
        .collect())
}

/// Fails when a crate reaches across the layers or takes a dependency that has an owner, and when
/// the daemons build a crate with different features.
///
/// # Errors
/// As above, and when a file cannot be read.
pub fn check() -> Result<()> {
    let mut problems = problems(root(), &members()?);
    problems.extend(features::problems()?);
    fail_on(&problems)
}

fn problems(root: &Path, members: &[Member]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut layers = BTreeMap::new();
    for member in members {
        match layer(root, &member.manifest) {
            Some(layer) => {
                layers.insert(member.name.as_str(), layer);
            }
            None => problems.push(format!("{}: is in no layer's directory", member.name)),
        }
    }
    let needed: BTreeSet<&str> = members
        .iter()
        .flat_map(|member| &member.dependencies)
        .map(|dependency| dependency.name.as_str())
        .collect();
    for member in members {
        for dependency in &member.dependencies {
            let is_needed = needed.contains(member.name.as_str());
            problems.extend(crosses_layers(&layers, &member.name, is_needed, dependency));
            let is_for_tests = layers.get(member.name.as_str()) == Some(&Layer::TestSupport);
            if !dependency.for_tests && !is_for_tests {
                problems.extend(takes_what_is_owned(&member.name, dependency));
            }
        }
    }
    for name in WITHOUT_TOKIO {
        problems.extend(
            way_to(members, name, "tokio").map(|way| format!("{way}: must not reach tokio")),
        );
    }
    problems
}

fn layer(root: &Path, manifest: &Path) -> Option<Layer> {
    let mut parts = manifest
        .strip_prefix(root)
        .ok()?
        .iter()
        .map(|part| part.to_str());
    match (parts.next()??, parts.next()??) {
        ("libs", "shared") => Some(Layer::Shared),
        ("libs", "gpu-node") => Some(Layer::GpuNode),
        ("libs", "control-plane") => Some(Layer::ControlPlane),
        ("libs", "data-plane") => Some(Layer::DataPlane),
        ("libs", "client") => Some(Layer::Client),
        ("libs", "test-support") => Some(Layer::TestSupport),
        ("bin", _) => Some(Layer::Binary),
        ("xtask", _) => Some(Layer::Xtask),
        _ => None,
    }
}

fn crosses_layers(
    layers: &BTreeMap<&str, Layer>,
    from: &str,
    is_needed: bool,
    to: &Dependency,
) -> Option<String> {
    // External crates have no layer.
    let (from_layer, to_layer) = (*layers.get(from)?, *layers.get(to.name.as_str())?);
    let allowed = match to_layer {
        Layer::Shared => true,
        Layer::Binary => false,
        Layer::Xtask => from_layer == Layer::Xtask,
        Layer::TestSupport => {
            to.for_tests || matches!(from_layer, Layer::TestSupport | Layer::Xtask)
        }
        // A crate without dependents connects no layers, so it may use all of them.
        _ if from_layer == Layer::TestSupport && !is_needed => true,
        same => from_layer == same || from_layer == Layer::Binary,
    };
    (!allowed).then(|| {
        format!(
            "{from} ({from_layer:?}) must not depend on {} ({to_layer:?})",
            to.name
        )
    })
}

fn takes_what_is_owned(from: &str, to: &Dependency) -> Option<String> {
    let owners = OWNED
        .iter()
        .find(|(name, _)| *name == to.name)
        .map(|(_, owners)| *owners);
    if let Some(owners) = owners.filter(|owners| !owners.contains(&from)) {
        return Some(format!(
            "{from} must not depend on {}: it belongs to {}",
            to.name,
            owners.join(", ")
        ));
    }
    OWNED_FEATURES
        .iter()
        .find(|(name, feature, owners)| {
            *name == to.name
                && to.features.iter().any(|has| has == feature)
                && !owners.contains(&from)
        })
        .map(|(name, feature, owners)| {
            format!(
                "{from} must not use {name}'s feature {feature}: it belongs to {}",
                owners.join(", ")
            )
        })
}

/// How `from` reaches the crate `goal`: "a -> b -> goal".
fn way_to(members: &[Member], from: &str, goal: &str) -> Option<String> {
    let by_name: BTreeMap<&str, &Member> = members
        .iter()
        .map(|member| (member.name.as_str(), member))
        .collect();
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while let Some(way) = ways.pop() {
        let Some(member) = way.last().and_then(|name| by_name.get(name)) else {
            continue;
        };
        for dependency in member
            .dependencies
            .iter()
            .filter(|dependency| !dependency.for_tests)
        {
            let longer: Vec<&str> = way
                .iter()
                .copied()
                .chain([dependency.name.as_str()])
                .collect();
            if dependency.name == goal {
                return Some(longer.join(" -> "));
            }
            if seen.insert(&dependency.name) {
                ways.push(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, dependencies: &[&str]) -> Member {
        let dependencies = dependencies.iter().map(|text| {
            let (name, for_tests) = text
                .strip_suffix(" (dev)")
                .map_or((*text, false), |name| (name, true));
            let (name, features) = name.split_once('+').unwrap_or((name, ""));
            let features = features.split('+').map(str::to_owned).collect();
            Dependency {
                name: name.to_owned(),
                features,
                for_tests,
            }
        });
        Member {
            name: path.rsplit('/').next().unwrap().to_owned(),
            manifest: Path::new("/w").join(path).join("Cargo.toml"),
            is_published: true,
            targets: Vec::new(),
            dependencies: dependencies.collect(),
        }
    }

    fn problems_of(members: &[Member]) -> String {
        problems(Path::new("/w"), members).join("\n")
    }

    #[test]
    fn the_lawful_workspace_has_no_problems() {
        let members = [
            member("libs/shared/http-server", &["hyper+http1+server", "tokio"]),
            member("libs/shared/pool-registry-types", &["http", "tokio (dev)"]),
            member(
                "libs/gpu-node/pool-registry",
                &["pool-registry-types", "fake-engine (dev)"],
            ),
            member("libs/test-support/fake-engine", &["tokio"]),
            member(
                "libs/test-support/captured-log",
                &["tracing-subscriber", "hyper+server"],
            ),
            member("bin/pool-managerd", &["pool-registry", "http-server"]),
            member(
                "libs/test-support/fuzz-targets",
                &["pool-registry", "http-server"],
            ),
            member("libs/test-support/test-client", &["ureq"]),
            member("xtask/crates/e2e-tests", &["test-client", "fake-engine"]),
            member("xtask", &["e2e-tests", "test-client"]),
        ];
        assert_eq!(problems_of(&members), "");
    }

    // spec: PACK-1
    #[test]
    fn layers_do_not_reach_across_or_up() {
        let members = [
            member("libs/shared/a", &["c"]),
            member("libs/gpu-node/b", &["c", "fake-engine"]),
            member("libs/control-plane/c", &["d (dev)"]),
            member("libs/data-plane/d", &["e"]),
            member("libs/client/g", &["d", "a"]),
            member("bin/e", &[]),
            member("libs/test-support/fake-engine", &["d"]),
            member("tools/f", &[]),
            member("xtask/crates/h", &[]),
            member("libs/test-support/i", &["h"]),
        ];
        let problems = problems_of(&members);
        assert_eq!(problems.lines().count(), 9, "{problems}");
        assert!(
            problems.contains("b (GpuNode) must not depend on c (ControlPlane)"),
            "{problems}"
        );
        assert!(problems.contains("f: is in no layer"), "{problems}");
    }

    // spec: PACK-2
    #[test]
    fn an_owned_dependency_has_its_owner() {
        let members = [
            member("libs/gpu-node/handoff-watcher", &["notify", "ureq (dev)"]),
            member("libs/gpu-node/other", &["notify", "hyper+client"]),
        ];
        let problems = problems_of(&members);
        assert_eq!(problems.lines().count(), 2, "{problems}");
        assert!(
            problems.contains("other must not depend on notify: it belongs to handoff-watcher")
        );
        assert!(
            problems.contains("other must not use hyper's feature client"),
            "{problems}"
        );
    }

    // spec: PACK-3
    #[test]
    fn a_pure_core_reaches_no_runtime_even_through_others() {
        let members = [
            member("libs/data-plane/placement", &["helper", "tokio (dev)"]),
            member("libs/data-plane/helper", &["tokio"]),
        ];
        assert_eq!(
            problems_of(&members),
            "placement -> helper -> tokio: must not reach tokio"
        );
    }
}
