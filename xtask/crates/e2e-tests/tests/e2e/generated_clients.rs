//! Clients generated from the OpenAPI documents: without a warning, and against real daemons.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use child_process::succeed;
use test_clock::wait_for;
use test_cluster::Cluster;
use test_tools::{Packages, Tool};

const SOON: Duration = Duration::from_secs(90);

/// The generator that is tested with. It prints a warning for each schema that it leaves out.
const GENERATOR: &str = "openapi-python-client==0.29.1";

/// Uses the client of `orchestratord`: reads nodes and pools, and drains a node without a body.
const SCRIPT: &str = r#"
import sys
from control import Client
from control.api.nodes import get_v2_nodes
from control.api.capacity import get_v2_pools
from control.api.drains import post_v2_nodes_node_id_drain, post_v2_nodes_node_id_undrain
from control.models import NodesAnswer, PoolsAnswer

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
nodes = get_v2_nodes.sync(client=client)
assert isinstance(nodes, NodesAnswer), nodes
node = nodes.nodes[0]
print("node:", node.node_id, node.status.value, node.pools[0].pool_id, node.pools[0].slots_total)
print("replica:", node.pools[0].replicas[0].replica_id, node.pools[0].replicas[0].slots_total)
pools = get_v2_pools.sync(client=client)
assert isinstance(pools, PoolsAnswer), pools
print("pool:", pools.pools[0].node_id, pools.pools[0].ready)
print("drain:", post_v2_nodes_node_id_drain.sync(node.node_id, client=client).success)
print("undrain:", post_v2_nodes_node_id_undrain.sync(node.node_id, client=client).success)
"#;

// spec: WIRE-47
#[test]
fn a_generated_client_is_complete_and_works() -> Result<()> {
    let packages = match Packages::install("openapi-python-client", &[GENERATOR]) {
        Ok(packages) => packages,
        Err(error) => return Tool::ClientGenerator.leave_out(&format!("{error:#}")),
    };
    Cluster::test("generated-client", |cluster| {
        // The generator would format the code with a tool that is not installed, and warn of it.
        let config = cluster.directory().join("generator.yaml");
        std::fs::write(&config, "post_hooks: []\n")?;
        for (daemon, name) in [("orchestratord", "control"), ("pool-managerd", "node")] {
            let document = workspace_build::root().join(format!(".docs/api/{daemon}.json"));
            let mut generate: Command = packages.python(&[])?;
            generate
                .args([
                    "-m",
                    "openapi_python_client",
                    "generate",
                    "--fail-on-warning",
                ])
                .args(["--meta", "none", "--overwrite", "--path"])
                .arg(document)
                .arg("--config")
                .arg(&config)
                .arg("--output-path")
                .arg(cluster.directory().join(name))
                .current_dir(cluster.directory());
            succeed(&mut generate).with_context(|| format!("the client of {daemon}"))?;
        }
        let orchestrator = cluster.orchestrator(&[])?;
        let node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("a ready node", SOON, || orchestrator.ready_nodes() == 1)?;
        let directory = cluster.directory();
        let mut python = packages.python(&[directory])?;
        let said = succeed(
            python
                .args(["-c", SCRIPT, &orchestrator.url()])
                .env("NO_PROXY", "*"),
        )?;
        for line in [
            "node: node-a online pool-0 2",
            "replica: r0 2",
            "pool: node-a True",
            "drain: True",
            "undrain: True",
        ] {
            assert!(
                said.lines().any(|shown| shown == line),
                "{line:?} is not in:\n{said}"
            );
        }
        Ok(())
    })
}
