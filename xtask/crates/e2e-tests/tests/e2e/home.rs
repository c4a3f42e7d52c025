//! The HOME profile: `orchestratord` alone is a complete service.

use std::time::Duration;

use anyhow::Result;
use test_client::{Client, End, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, handoff, write_handoff};

const SOON: Duration = Duration::from_secs(90);

// spec: CONF-24
#[test]
fn both_daemons_share_the_default_directories_in_home() -> Result<()> {
    Cluster::test("home-both", |cluster| {
        let mut home = cluster.home(&[])?;
        let engine = cluster.engine(2)?;
        write_handoff(home.daemon().directory(), &handoff("pool-0", "r0", &engine))?;
        let mut agent = cluster.home_agent(home.daemon());
        let address = agent.start()?;
        let client = home.client();
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        // It watches nothing, so it shows the pool that it was told of and no engine.
        let pools = Client::new(&format!("http://{address}")).get_json("/v2/pools")?;
        assert_eq!(pools["pools"][0]["ready"], false, "{pools}");
        // In either order: what the agent leaves behind does not block the next start.
        assert!(home.terminate(SOON)?.success());
        home.restart()?;
        wait_for("an answer again", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        assert!(agent.terminate(SOON)?.success());
        Ok(())
    })
}

// spec: CLOUD-12001
#[test]
fn one_daemon_serves_the_engines_of_one_machine() -> Result<()> {
    Cluster::test("home", |cluster| {
        let mut home = cluster.home(&[])?;
        let engine = cluster.engine(2)?;
        let file = write_handoff(home.daemon().directory(), &handoff("pool-0", "r0", &engine))?;
        let client = home.client();
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;

        assert_eq!(client.chat(20)?.text()?, chain(20));
        let streamed = client.chat_stream(50)?.finish();
        assert_eq!((streamed.text(), streamed.end), (chain(50), End::Done));
        assert_eq!(client.get_json("/v1/models")?["data"][0]["id"], "tiny");

        std::fs::remove_file(file)?;
        // One that comes just then waits for the engine to come back.
        let client = client.with_header("x-deadline-ms", "2000");
        wait_for("the engine to be forgotten", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status != 200)
        })?;
        assert!(home.terminate(SOON)?.success());
        Ok(())
    })
}
