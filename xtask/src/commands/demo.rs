//! `cargo xtask demo`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::arguments::Arguments;
use child_process::Group;
use test_client::{Answer, chain};
use test_clock::wait_for_some;
use test_cluster::{Cluster, Engine, Node, Orchestrator};
use tiny_model::TinyModel;

pub(super) const USAGE: &str = "\
cargo xtask demo [--check] [--keep]

Builds both daemons, gets a llama-server, makes a tiny model, and runs a control plane, a node and
an engine on free ports of this machine. Serves until Ctrl-C.

  --check  sends one question, prints the answer, and stops
  --keep   keeps the directory with logs and state";

/// How long a new engine may take to be routed to; it takes milliseconds.
const ROUTED: Duration = Duration::from_secs(30);
/// How long the daemons may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// Words of the answer that `--check` asks for.
const WORDS: u32 = 8;
/// The node's name.
const NODE: &str = "gpu-node-1";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let check = arguments.flag("--check");
    let keep = arguments.flag("--keep");
    arguments.finish()?;
    // Caught from the beginning, so that an interrupted start leaves nothing behind either.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?;

    println!("building the daemons and making the model");
    let mut cluster = Cluster::with_model("demo", &TinyModel::default(), Group::Own)?;
    if keep {
        println!("logs       {}", cluster.keep().display());
    }
    let mut demo = Demo::start(&cluster)?;
    let answer = demo.first_answer()?;
    println!(
        "answer    {} (from {})",
        answer.text()?,
        answer.header("x-llorch-node")
    );
    let served = if check {
        demo.check(&answer)
    } else {
        demo.serve(&mut signals)
    };
    demo.end();
    served
}

/// The running parts, in the order in which they end.
struct Demo {
    orchestrator: Orchestrator,
    node: Node,
    engine: Engine,
}

impl Demo {
    fn start(cluster: &Cluster) -> Result<Self> {
        let orchestrator = cluster.orchestrator(&[])?;
        println!("control    {}", orchestrator.url());
        let node = cluster.node(NODE, &orchestrator, &[])?;
        println!("node       {} ({NODE})", node.url());
        let engine = cluster.engine(4)?;
        println!("engine     {} (llama-server, 4 slots)", engine.url());
        node.write_handoff("pool-0", "r0", &engine)?;
        println!("handoff    written");
        Ok(Self {
            orchestrator,
            node,
            engine,
        })
    }

    fn first_answer(&self) -> Result<Answer> {
        let client = self.orchestrator.client();
        wait_for_some("the first answer", ROUTED, || {
            client
                .chat(WORDS)
                .ok()
                .filter(|answer| answer.status == 200)
        })
    }

    fn check(&self, answer: &Answer) -> Result<()> {
        let expected = chain(WORDS as usize);
        ensure!(answer.text()? == expected, "expected{expected}");
        ensure!(
            answer.header("x-llorch-node") == NODE,
            "it does not say that {NODE} answered"
        );
        println!("ok");
        Ok(())
    }

    fn serve(&self, signals: &mut Signals) -> Result<()> {
        let url = self.orchestrator.url();
        println!(
            "\nTry it:\n  curl {url}/v2/nodes\n  curl -N {url}/v1/chat/completions -H \
             'content-type: application/json' \\\n    -d \
             '{{\"model\":\"tiny\",\"stream\":true,\"max_tokens\":20,\"messages\":[{{\"role\":\"\
             user\",\"content\":\"count\"}}]}}'\n\nCtrl-C ends it."
        );
        signals.forever().next();
        println!("ending");
        Ok(())
    }

    /// Stops the node first, so that it can deregister, then the control plane and the engine.
    fn end(&mut self) {
        let Self {
            orchestrator,
            node,
            engine,
        } = self;
        for process in [node.daemon().process(), orchestrator.daemon().process()]
            .into_iter()
            .flatten()
        {
            process.end(GRACE);
        }
        engine.kill();
    }
}
