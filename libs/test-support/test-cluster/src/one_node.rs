//! One node and its control plane in either profile, so that one test covers both.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    daemon::{Daemon, Setting},
    engine::Engine,
    node::{Node, RUNTIME_DIR, handoff, write_handoff},
    orchestrator::Orchestrator,
};
use test_client::{Answer, Client};
use test_clock::wait_for;

/// The profile of the daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `orchestratord` alone: it contains the node.
    Home,
    /// `orchestratord` and `pool-managerd`.
    Cloud,
}

/// How long the node may take until the control plane knows it.
const JOINED: Duration = Duration::from_secs(90);

/// The name of the node in CLOUD. In HOME it is the name of this machine.
const NODE: &str = "node-a";

/// A control plane with one node.
#[derive(Debug)]
pub struct OneNode {
    profile: Profile,
    control: Orchestrator,
    /// `None` in HOME.
    node: Option<Node>,
    name: String,
}

impl Cluster {
    /// Starts a control plane with one node. `node` are settings of the node without the prefix of
    /// its daemon, such as `POOLS_FILE`; `environment` is for the daemon that
    /// contains the node.
    ///
    /// # Errors
    /// When it does not start.
    pub fn one_node(
        &self,
        profile: Profile,
        node: &[Setting<'_>],
        environment: &[Setting<'_>],
    ) -> Result<OneNode> {
        self.one_node_with(profile, &[], node, environment)
    }

    /// As [`one_node`](Self::one_node), with settings of the control plane.
    ///
    /// # Errors
    /// When it does not start.
    pub fn one_node_with(
        &self,
        profile: Profile,
        control: &[Setting<'_>],
        node: &[Setting<'_>],
        environment: &[Setting<'_>],
    ) -> Result<OneNode> {
        let prefixed = |prefix: &str| -> Vec<(String, String)> {
            let own = node
                .iter()
                .map(|(name, value)| (format!("{prefix}{name}"), (*value).to_owned()));
            let plain = environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            own.chain(plain).collect()
        };
        fn settings(of: &[(String, String)]) -> Vec<Setting<'_>> {
            of.iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        }
        let (control, node) = match profile {
            Profile::Home => {
                let own = prefixed("ORCHESTRATORD_");
                (self.home(&[control, &settings(&own)].concat())?, None)
            }
            Profile::Cloud => {
                let control = self.orchestrator(control)?;
                let node = self.node(NODE, &control, &settings(&prefixed("POOL_MANAGERD_")))?;
                (control, Some(node))
            }
        };
        wait_for("the node", JOINED, || control.nodes().len() == 1)?;
        let name = control
            .nodes()
            .first()
            .and_then(|node| node["node_id"].as_str().map(str::to_owned));
        Ok(OneNode {
            profile,
            control,
            node,
            name: name.context("a node without a name")?,
        })
    }
}

impl OneNode {
    /// Which profile it is.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The control plane.
    #[must_use]
    pub fn control(&self) -> &Orchestrator {
        &self.control
    }

    /// The control plane, to stop or start it.
    pub fn control_mut(&mut self) -> &mut Orchestrator {
        &mut self.control
    }

    /// The daemon that contains the node.
    pub fn node_daemon(&mut self) -> &mut Daemon {
        match &mut self.node {
            Some(node) => node.daemon(),
            None => self.control.daemon(),
        }
    }

    /// Kills the daemon that contains the node, and starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_node(&mut self) -> Result<()> {
        match &mut self.node {
            Some(node) => node.restart(),
            None => self.control.restart(),
        }
    }

    /// The node's id.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client of the control plane.
    #[must_use]
    pub fn client(&self) -> Client {
        self.control.client()
    }

    /// Writes the handoff of an engine.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&mut self, pool: &str, replica: &str, engine: &Engine) -> Result<()> {
        let directory = self.node_daemon().directory().to_owned();
        write_handoff(&directory, &handoff(pool, replica, engine)).map(|_| ())
    }

    /// Removes a handoff.
    ///
    /// # Errors
    /// When there is none.
    pub fn retract(&mut self, pool: &str, replica: &str) -> Result<()> {
        let path = self
            .node_daemon()
            .directory()
            .join(RUNTIME_DIR)
            .join(format!("{pool}_{replica}.json"));
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// The node by the control plane; null when it is unknown.
    #[must_use]
    pub fn shown(&self) -> Value {
        self.control.node(&self.name).unwrap_or_default()
    }

    /// A pool of the node by the control plane; null when it is unknown.
    #[must_use]
    pub fn pool(&self, pool: &str) -> Value {
        let mut node = self.shown();
        let pools = node["pools"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        pools
            .into_iter()
            .find(|status| status["pool_id"] == pool)
            .unwrap_or_default()
    }

    /// A replica by the control plane; null when it is unknown.
    #[must_use]
    pub fn replica(&self, pool: &str, replica: &str) -> Value {
        let mut pool = self.pool(pool);
        let replicas = pool["replicas"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        replicas
            .into_iter()
            .find(|status| status["replica_id"] == replica)
            .unwrap_or_default()
    }

    /// Drains or undrains: the node, one of its pools (`pool`), or a replica
    /// (`pool/replicas/replica`).
    ///
    /// # Errors
    /// When the control plane refuses.
    pub fn set_draining(&self, what: Option<&str>, draining: bool) -> Result<Answer> {
        let verb = if draining { "drain" } else { "undrain" };
        let path = match what {
            None => format!("/v2/nodes/{}/{verb}", self.name),
            Some(what) => format!("/v2/pools/{}/{what}/{verb}", self.name),
        };
        let answer = self.client().post(&path, &json!({}))?;
        anyhow::ensure!(
            answer.status == 200,
            "{path}: {} {}",
            answer.status,
            answer.body
        );
        Ok(answer)
    }
}
