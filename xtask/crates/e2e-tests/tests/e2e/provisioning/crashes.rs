//! Engines that are killed, and engines that never come up.

use std::{fmt::Write as _, thread, time::Duration};

use anyhow::Result;
use serde_json::json;
use test_clock::{now, wait_for, wait_for_some};
use test_cluster::Cluster;

use super::{
    CLIENTS, REPLICAS, SLOTS, SOON, are_ready, assert_other_answers, pool_of, processes, start,
    two_pools,
};
use crate::load::{Load, ask};

/// Ten starts, 50 ms apart, then twice as long each time: 26 s. The rest is for a busy machine.
const TEN_STARTS: Duration = Duration::from_secs(180);

// spec: PROV-5, PROV-6, PROV-9
#[test]
fn a_killed_engine_is_started_again_and_no_other_is_disturbed() -> Result<()> {
    Cluster::test("prov-kill", |cluster| {
        let (orchestrator, node) = start(cluster, &two_pools(cluster))?;
        let before = processes(cluster, &node);
        assert_eq!(before.len(), REPLICAS.len());
        let client = orchestrator.client();
        let outcomes = thread::scope(|scope| {
            let others = scope.spawn(|| (0..10).try_for_each(|_| assert_other_answers(&client)));
            let outcomes = Load::while_it_lasts(client.clone(), CLIENTS).run(|load| {
                load.wait_for(CLIENTS)?;
                let killed = now();
                let old = before[&("chat", "r0")];
                old.kill();
                // It may be back before anybody sees that it was away, so its process is asked for
                // and not its absence.
                wait_for("another engine in its place", SOON, || {
                    processes(cluster, &node)
                        .get(&("chat", "r0"))
                        .is_some_and(|new| *new != old)
                })?;
                wait_for("all engines to be ready", SOON, || are_ready(&orchestrator))?;
                println!(
                    "killed; back in rotation after {} ms",
                    killed.elapsed().as_millis()
                );
                wait_for("an answer of the new engine", SOON, || {
                    let outcome = ask(&client, true);
                    outcome.is_complete() && outcome.replica == "r0"
                })?;
                load.wait_for(CLIENTS)
            })?;
            others
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            anyhow::Ok(outcomes)
        })?;

        // The node gives a request that got no byte to its other engine, or back to the line; only
        // what had begun breaks.
        let broken: Vec<_> = outcomes
            .iter()
            .filter(|outcome| !outcome.is_complete())
            .collect();
        println!(
            "{} of {} had begun on it and broke",
            broken.len(),
            outcomes.len()
        );
        for outcome in &broken {
            assert!(
                outcome.is_honestly_broken() && outcome.replica == "r0",
                "{outcome:?}"
            );
        }
        assert!(
            broken.len() <= SLOTS as usize,
            "more than one per slot: {broken:?}"
        );
        let after = processes(cluster, &node);
        for (name, process) in &after {
            let same = before.get(name) == Some(process);
            assert_eq!(
                same,
                *name != ("chat", "r0"),
                "{name:?}: {before:?} {after:?}"
            );
        }
        assert_eq!(cluster.engine_processes().len(), REPLICAS.len());
        Ok(())
    })
}

// spec: PROV-6, PROV-9
#[test]
fn an_engine_that_always_crashes_is_given_up_and_the_others_serve() -> Result<()> {
    Cluster::test("prov-crash", |cluster| {
        let mut file = two_pools(cluster);
        write!(
            file,
            "[[pool]]\nid = \"broken\"\nengine = \"llamacpp\"\nslots = 1\n\
             command = [\"/bin/sh\", \"-c\", \"echo no such device: $0 >&2; exit 3\", \
              \"{{port}}\"]\n"
        )?;
        let (orchestrator, node) = start(cluster, &file)?;
        let others = processes(cluster, &node);
        let client = orchestrator.client();
        let given_up = wait_for_some("the engine to be given up", TEN_STARTS, || {
            if assert_other_answers(&client).is_err() {
                return Some(json!("another engine does not serve"));
            }
            let mut pool = pool_of(&orchestrator, "broken")?;
            assert_eq!(pool["ready"], false);
            let error = pool["last_error"].take();
            error
                .as_str()
                .is_some_and(|error| error.starts_with("failed"))
                .then_some(error)
        })?;
        let given_up = given_up.as_str().unwrap_or_default();
        println!("{given_up}");
        assert!(given_up.contains("no such device"), "{given_up}");
        assert_eq!(processes(cluster, &node), others);
        Ok(())
    })
}
