//! The software bill of materials of a program: what it is built from, as CycloneDX 1.6.
//!
//! It says nothing that changes between two builds of one commit: no time, no serial number.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use workspace_build::{cargo, root};

/// The programs of a release.
pub const PROGRAMS: [&str; 3] = ["orchestratord", "pool-managerd", "llorch"];

/// The platform of releases: a package for another one is not in a program.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The bill of `program`, one of [`PROGRAMS`].
///
/// # Errors
/// When cargo fails, or says something unexpected.
pub fn of(program: &str) -> Result<Value> {
    let metadata = json_of(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--offline",
        "--filter-platform",
        PLATFORM,
    ])?;
    let checksums = checksums(&std::fs::read_to_string(root().join("Cargo.lock"))?);
    let packages = by_id(&metadata["packages"])?;
    let nodes = by_id(&metadata["resolve"]["nodes"])?;
    let (root_id, root) = packages
        .iter()
        .find(|(_, package)| package["name"] == program && package["source"].is_null())
        .with_context(|| format!("no package {program}"))?;

    // The metadata has the features of the whole workspace. Only the tree knows those of one
    // program.
    let built = built(program)?;
    let is_built = |id: &str| {
        let package = packages.get(id);
        let purl = package.and_then(|package| purl(package));
        purl.is_some_and(|purl| built.contains(&purl))
    };
    let reached: BTreeSet<&str> = packages.keys().copied().filter(|id| is_built(id)).collect();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for id in &reached {
        let node = nodes
            .get(id)
            .with_context(|| format!("{id} is not resolved"))?;
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            let is_for_tests = kinds.all(|kind| kind["kind"] == "dev");
            let to = dependency["pkg"]
                .as_str()
                .context("a dependency has no id")?;
            if !is_for_tests && reached.contains(to) {
                edges.entry(id).or_default().insert(to);
            }
        }
    }

    let reference = |id: &str| -> Option<String> { purl(packages.get(id)?) };
    let mut components = Vec::new();
    for id in reached.iter().filter(|id| *id != root_id) {
        let package = packages.get(id).context("a package is missing")?;
        components.push(component(package, "library", &checksums)?);
    }
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies = Vec::new();
    for id in &reached {
        let on = edges.get(id).into_iter().flatten();
        let mut on: Vec<_> = on.filter_map(|id| reference(id)).collect();
        on.sort();
        dependencies.push(json!({ "ref": reference(id), "dependsOn": on }));
    }
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": component(root, "application", &checksums)? },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn output(arguments: &[&str]) -> Result<String> {
    let output = cargo(arguments).output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("cargo printed no UTF-8")
}

fn json_of(arguments: &[&str]) -> Result<Value> {
    serde_json::from_str(&output(arguments)?).context("cargo printed no JSON")
}

/// The URLs of the packages that are compiled into `program`, or run to build it; not of those that
/// only tests use.
fn built(program: &str) -> Result<BTreeSet<String>> {
    let tree = output(&[
        "tree",
        "--locked",
        "--offline",
        "--package",
        program,
        "--target",
        PLATFORM,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--no-dedupe",
    ])?;
    // `NAME vVERSION`, and perhaps more in parentheses.
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some(format!("pkg:cargo/{name}@{version}"))
    };
    Ok(tree.lines().filter_map(package).collect())
}

fn by_id(list: &Value) -> Result<BTreeMap<&str, &Value>> {
    let list = list
        .as_array()
        .context("cargo metadata has an unknown form")?;
    let by_id = |entry| {
        let entry: &Value = entry;
        Some((entry["id"].as_str()?, entry))
    };
    Ok(list.iter().filter_map(by_id).collect())
}

/// The SHA-256 of each package of a registry, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
            Some(value.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

fn component(
    package: &Value,
    kind: &str,
    checksums: &BTreeMap<(String, String), String>,
) -> Result<Value> {
    let text = |field: &str| package[field].as_str().map(str::to_owned);
    let name = text("name").context("a package has no name")?;
    let version = text("version").with_context(|| format!("{name} has no version"))?;
    let purl = purl(package);
    let mut component = json!({
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    });
    if let Some(license) = text("license") {
        // Old packages write a slash for OR.
        let expression = license.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(checksum) = checksums.get(&(name, version)) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    Ok(component)
}

fn purl(package: &Value) -> Option<String> {
    let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
    Some(format!("pkg:cargo/{name}@{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-40
    #[test]
    fn a_bill_names_what_is_in_a_program_and_nothing_else() {
        let bill = of("pool-managerd").unwrap();
        let components = bill["components"].as_array().unwrap();
        let find = |name: &str| {
            components
                .iter()
                .find(|component| component["name"] == name)
        };
        let hyper = find("hyper").unwrap();
        assert!(
            hyper["purl"]
                .as_str()
                .unwrap()
                .starts_with("pkg:cargo/hyper@1.")
        );
        assert_eq!(hyper["licenses"][0]["expression"], "MIT");
        assert_eq!(
            hyper["hashes"][0]["content"].as_str().map(str::len),
            Some(64)
        );
        assert!(find("handoff-watcher").is_some_and(|ours| ours.get("hashes").is_none()));
        for absent in ["proptest", "redb", "orchestratord", "windows-sys"] {
            assert!(find(absent).is_none(), "{absent}");
        }
        // Every reference is that of a component, or of the program.
        let known: BTreeSet<_> = components
            .iter()
            .chain([&bill["metadata"]["component"]])
            .filter_map(|component| component["bom-ref"].as_str())
            .collect();
        for dependency in bill["dependencies"].as_array().unwrap() {
            let on = dependency["dependsOn"].as_array().unwrap();
            for reference in on.iter().chain([&dependency["ref"]]) {
                assert!(known.contains(reference.as_str().unwrap()), "{reference}");
            }
        }
        assert_eq!(bill, of("pool-managerd").unwrap(), "it is reproducible");
    }

    #[test]
    fn the_checksums_of_the_lock_file_are_read() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
                    source = \"x\"\nchecksum = \"0f\"\n\n[[package]]\nname = \"ours\"\n\
                    version = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&("a".to_owned(), "1.0.0".to_owned())], "0f");
    }
}
