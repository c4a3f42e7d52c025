//! The one owner of the registry.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use event_log::EventLog;
use registry_store::StoredNode;
use routing_table::RoutingTable;
use service_registry::{HeartbeatOutcome, NodesSnapshot, Registry, RegistryError};
use service_runtime::Shutdown;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    Config, RegistryHandle,
    handle::{Answer, Command},
    kept::Kept,
    log,
    news::Newsroom,
};

/// How many messages wait at most: more than all nodes send in an instant; who comes later waits with its answer.
const MAX_WAITING: usize = 1024;

/// How many messages are taken together at most. What comes at once is published once.
const MAX_BATCH: usize = 256;

/// Owns the registry: applies what the handles send, wakes at its deadlines, publishes what readers see.
#[derive(Debug)]
pub struct RegistryTask {
    registry: Registry,
    /// The revision that the views show.
    published: u64,
    versions: u64,
    origin: Instant,
    longest_sleep: Duration,
    commands: mpsc::Receiver<Command>,
    nodes: watch::Sender<Arc<NodesSnapshot>>,
    table: watch::Sender<Arc<RoutingTable>>,
    kept: watch::Sender<Kept>,
    news: Newsroom,
}

/// The front, the task, and what the store should have. It has what is `kept`.
pub(crate) fn pair(config: &Config, kept: Kept) -> (RegistryHandle, RegistryTask, watch::Receiver<Kept>) {
    let origin = Instant::now();
    let started = SystemTime::now();
    let mut registry = Registry::new(config.registry.clone());
    registry.restore(kept.known(started), Duration::ZERO);
    if !kept.is_empty() {
        let drained = kept.drained();
        tracing::info!(
            nodes = kept.len(),
            drained,
            "Nodes known from before; probing them"
        );
    }
    let (kept, kept_seen) = watch::channel(kept);
    // Status changes of restored nodes are no news.
    let _ = registry.take_deltas();
    let (to_task, commands) = mpsc::channel(MAX_WAITING);
    let (nodes, nodes_seen) = watch::channel(Arc::new(registry.snapshot()));
    let (table, table_seen) = watch::channel(Arc::new(registry.routing_table(0)));
    let handle = RegistryHandle {
        commands: to_task,
        origin,
        config: Arc::new(config.registry.clone()),
        nodes: nodes_seen,
        table: table_seen,
    };
    let mut task = RegistryTask {
        published: registry.revision(),
        registry,
        versions: 0,
        origin,
        longest_sleep: config.stale_check_interval,
        commands,
        nodes,
        table,
        kept,
        news: Newsroom::new(EventLog::new()),
    };
    // What the store had and the registry did not take up.
    task.keep(started);
    (handle, task, kept_seen)
}

/// An answer that waits until its effect can be seen.
type Reply = Box<dyn FnOnce() + Send>;

impl RegistryTask {
    /// Tells `events` what happens to nodes, for people.
    #[must_use]
    pub fn telling(mut self, events: EventLog) -> Self {
        self.news = Newsroom::new(events);
        self
    }

    /// Runs until `shutdown` is requested or no handle is left. Calls under way then end with
    /// [`CallError::Stopped`](crate::CallError::Stopped).
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut batch = Vec::new();
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                received = self.commands.recv_many(&mut batch, MAX_BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            self.turn(&mut batch);
        }
    }

    fn wake(&self) -> Instant {
        let longest = Instant::now() + self.longest_sleep;
        self.registry
            .next_deadline()
            .map_or(longest, |deadline| longest.min(self.origin + deadline))
    }

    /// Everything that is to be done now: apply, tell, publish, and only then answer.
    fn turn(&mut self, batch: &mut Vec<Command>) {
        let now = self.origin.elapsed();
        self.registry.tick(now);
        let replies: Vec<Reply> = batch
            .drain(..)
            .filter_map(|command| self.apply(command, now))
            .collect();
        for delta in self.registry.take_deltas() {
            log::delta(&delta);
            self.news.delta(&delta);
        }
        self.publish();
        self.keep(SystemTime::now());
        for reply in replies {
            reply();
        }
    }

    fn publish(&mut self) {
        if self.registry.revision() == self.published {
            return;
        }
        self.published = self.registry.revision();
        self.versions += 1;
        self.nodes.send_replace(Arc::new(self.registry.snapshot()));
        self.table
            .send_replace(Arc::new(self.registry.routing_table(self.versions)));
    }

    /// Tells the keeper what the store should have; it writes in its own time.
    fn keep(&mut self, now: SystemTime) {
        let touched = self.registry.take_touched();
        if touched.is_empty() {
            return;
        }
        let registry = &self.registry;
        self.kept.send_if_modified(|kept| {
            touched.into_iter().fold(false, |modified, node_id| {
                let node = registry
                    .known_node(&node_id)
                    .map(|known| StoredNode::new(known, now));
                kept.set(node_id, node) || modified
            })
        });
    }

    fn apply(&mut self, command: Command, now: Duration) -> Option<Reply> {
        let registry = &mut self.registry;
        match command {
            Command::Register(request, answer) => {
                let result = registry.register(*request, now);
                later(answer, result)
            }
            Command::Heartbeat(node_id, request, answer) => {
                let result = registry.heartbeat(&node_id, request, now);
                match &result {
                    Ok(HeartbeatOutcome::Unchanged) => tracing::debug!(%node_id, "Heartbeat"),
                    Ok(HeartbeatOutcome::Ignored) => tracing::debug!(%node_id, "Late heartbeat ignored"),
                    Ok(HeartbeatOutcome::Changed) | Err(_) => {}
                }
                later(answer, result)
            }
            Command::Deregister(node_id, incarnation, answer) => {
                later(answer, registry.deregister(&node_id, incarnation, now))
            }
            Command::Drain(target, within, answer) => {
                let deadline = within.map(|within| now.saturating_add(within));
                later(answer, registry.drain(&target, deadline, now))
            }
            Command::Undrain(target, answer) => later(answer, registry.undrain(&target, now)),
            Command::Alive(answer) => later(answer, Ok(())),
            Command::Probed(node_id, incarnation, result) => {
                registry.probe(&node_id, incarnation, result, now);
                None
            }
        }
    }
}

fn later<T: Send + 'static>(answer: Answer<T>, result: Result<T, RegistryError>) -> Option<Reply> {
    if let Err(error) = &result {
        log::refusal(error);
    }
    // The asker may have gone; then nobody needs to know.
    Some(Box::new(move || drop(answer.send(result))))
}
