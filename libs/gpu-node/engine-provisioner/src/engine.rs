//! One engine: the machine's effects made true, and what happens told to the machine.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use pool_registry_types::{Handoff, HttpUrl, ReplicaId};
use service_runtime::{Shutdown, Tasks};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    PoolSpec,
    core::{Effect, Event, Machine, Policy},
    handoffs::handoff,
    promises,
    running::Running,
    shared::Shared,
    status::{EngineStatus, Phase, Row},
    waiting::{quiet, ready},
};

/// Wishes on their way to an engine; it takes them as fast as it can do anything at all.
const WISHES: usize = 8;

/// What somebody wants of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Stop,
    Restart,
}

impl From<Wish> for Event {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Stop => Self::Stop,
            Wish::Restart => Self::Restart,
        }
    }
}

type Inbox = mpsc::Receiver<(Wish, oneshot::Sender<()>)>;

/// How an engine begins.
#[derive(Debug)]
pub(crate) enum Begin {
    /// It is started.
    Start,
    /// It is started, and must be ready at its first attempt.
    OnTrial,
    /// A process of an earlier agent is taken over.
    Adopt(Box<Running>),
    /// It slept when an earlier agent ended, and sleeps on.
    Asleep(Box<Handoff>),
}

/// An engine from outside. When it is dropped, the engine is ended in order.
#[derive(Debug)]
pub(crate) struct EngineHandle {
    pub(crate) spec: Arc<PoolSpec>,
    wishes: mpsc::Sender<(Wish, oneshot::Sender<()>)>,
    seen: watch::Receiver<Seen>,
}

/// What others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) phase: Phase,
    pub(crate) url: Option<HttpUrl>,
    pub(crate) last_error: Option<Arc<str>>,
}

impl EngineHandle {
    /// Returns when the engine has begun to do so; at once when nobody supervises it any more.
    pub(crate) async fn wish(&self, wish: Wish) {
        let (begun, hears) = oneshot::channel();
        if self.wishes.send((wish, begun)).await.is_ok() {
            let _ = hears.await;
        }
    }

    /// Whether it takes requests.
    pub(crate) fn serves(&self) -> bool {
        self.seen.borrow().phase == Phase::Ready
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> Option<HttpUrl> {
        self.seen.borrow().url.clone()
    }

    /// Whether it does not run until somebody needs it.
    pub(crate) fn sleeps(&self) -> bool {
        self.seen.borrow().phase == Phase::Sleeping
    }

    /// Waits until `reached`, and says how it was then.
    pub(crate) async fn until(&self, mut reached: impl FnMut(Phase) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        match seen.wait_for(|seen| reached(seen.phase)).await {
            Ok(seen) => seen.clone(),
            // It is no longer supervised; nothing more will be known.
            Err(_) => self.seen.borrow().clone(),
        }
    }
}

/// Starts to supervise an engine of `spec`, until `shutdown` is requested; its process goes on
/// then.
pub(crate) fn supervise(
    shared: &Arc<Shared>,
    spec: Arc<PoolSpec>,
    replica_id: ReplicaId,
    begin: Begin,
    tasks: &Tasks,
    shutdown: Shutdown,
) -> EngineHandle {
    let (wishes, inbox) = mpsc::channel(WISHES);
    let on_trial = matches!(begin, Begin::OnTrial);
    let (first, running, promise) = match begin {
        Begin::Start | Begin::OnTrial => (Event::Start, None, None),
        Begin::Adopt(running) => (Event::Adopt, Some(*running), None),
        Begin::Asleep(promise) => (Event::Doze, None, Some(*promise)),
    };
    let unseen = Seen {
        phase: Phase::Starting,
        url: None,
        last_error: None,
    };
    let (publish, seen) = watch::channel(unseen);
    let engine = Engine {
        row: shared.board.row(),
        machine: Machine::new(Policy::from(&*spec), on_trial),
        shared: shared.clone(),
        spec: spec.clone(),
        replica_id,
        running,
        awaited: None,
        promise,
        wanted: None,
        publish,
    };
    tasks.spawn("engine", engine.run(first, inbox, shutdown));
    EngineHandle { spec, wishes, seen }
}

struct Engine {
    shared: Arc<Shared>,
    spec: Arc<PoolSpec>,
    replica_id: ReplicaId,
    machine: Machine,
    running: Option<Running>,
    /// That it is ready, or quiet: never both.
    awaited: Option<BoxFuture<'static, Event>>,
    /// What it was last offered as without a handoff, by an earlier agent to begin with.
    promise: Option<Handoff>,
    /// That somebody waits for it.
    wanted: Option<BoxFuture<'static, Event>>,
    row: Row,
    publish: watch::Sender<Seen>,
}

impl Engine {
    async fn run(mut self, first: Event, mut inbox: Inbox, shutdown: Shutdown) {
        let mut dismissed = false;
        self.handle(first).await;
        while !(dismissed && self.machine.phase().is_at_rest()) {
            let mut begun = None;
            let event = tokio::select! {
                biased;
                () = shutdown.requested() => return,
                wish = inbox.recv(), if !dismissed => match wish {
                    Some((wish, whoever_asked)) => {
                        begun = Some(whoever_asked);
                        wish.into()
                    }
                    None => {
                        dismissed = true;
                        Event::Stop
                    }
                },
                event = ended(self.running.as_mut()) => event,
                event = happened(self.awaited.as_mut()) => {
                    self.awaited = None;
                    event
                }
                event = happened(self.wanted.as_mut()) => {
                    self.wanted = None;
                    event
                }
                () = passed(self.machine.deadline()) => Event::Tick,
            };
            self.handle(event).await;
            if let Some(begun) = begun {
                let _ = begun.send(());
            }
        }
    }

    /// Tells the machine what happened and does what it says.
    async fn handle(&mut self, event: Event) {
        let before = (self.machine.phase(), self.machine.last_error().cloned());
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.machine.on(event, Instant::now()) {
                events.extend(self.apply(effect).await);
            }
        }
        self.tell(before.0, before.1.as_ref());
    }

    async fn apply(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Spawn => return self.spawn().await.err().map(Event::Refused),
            Effect::Probe => self.await_readiness(),
            Effect::Announce => self.announce(),
            Effect::Retract => self.retract(),
            Effect::Promise => self.offer(),
            Effect::Forsake => self.withdraw(),
            Effect::Look => {
                return Some(Event::Used(self.shared.registry.usage(&self.spec.pool_id)));
            }
            Effect::AwaitQuiet => {
                let registry = self.shared.registry.clone();
                self.awaited = self.running.as_ref().map(|running| {
                    let url = running.url.clone();
                    async move { quiet(&registry, &url).await }.boxed()
                });
            }
            Effect::Terminate => {
                self.awaited = None;
                self.signal(rustix::process::Signal::TERM);
            }
            Effect::Kill => self.signal(rustix::process::Signal::KILL),
            Effect::Forget => {
                self.awaited = None;
                if let Some(running) = self.running.take() {
                    running.forget();
                }
            }
        }
        None
    }

    async fn spawn(&mut self) -> Result<(), String> {
        // Shown as starting while it is looked at, which may take seconds.
        self.publish_status();
        let running = Running::start(&self.shared, &self.spec, &self.replica_id).await?;
        self.running = Some(running);
        self.await_readiness();
        Ok(())
    }

    fn await_readiness(&mut self) {
        let kind = self.spec.engine.clone();
        self.awaited = self.running.as_ref().map(|running| {
            let url = running.url.clone();
            async move { ready(&kind, &url).await }.boxed()
        });
    }

    /// Keeps it offered while it does not run.
    fn offer(&mut self) {
        let announced = (self.running.as_ref())
            .map(|running| handoff(&self.spec, &self.replica_id, &running.url));
        let Some(promise) = announced.or(self.promise.take()) else {
            return;
        };
        let (registry, pool, replica) = (
            self.shared.registry.clone(),
            self.spec.pool_id.clone(),
            self.replica_id.clone(),
        );
        let promise = registry.set_scaled_to_zero(promise);
        self.promise = Some(promise.clone());
        if let Err(error) = promises::remember(&self.shared.record_dir, &self.spec, &promise) {
            let dir = self.shared.record_dir.display();
            tracing::warn!(
                pool_id = %pool, replica_id = %replica, %dir, %error,
                "cannot remember that an engine sleeps, so a restart of the agent wakes it; correct the state directory"
            );
        }
        let wanted = async move {
            registry.wait_for_demand(&pool, &replica).await;
            Event::Wanted
        };
        self.wanted = Some(wanted.boxed());
    }

    fn withdraw(&mut self) {
        let reason = self.machine.last_error().map(|error| &**error);
        // Not what another engine promised that has taken its place.
        if let Some(promise) = self.promise.take()
            && self.shared.registry.withdraw_offer(&promise, reason)
        {
            self.is_not_asleep();
        }
    }

    /// The next agent is to start it, or to adopt it.
    fn is_not_asleep(&mut self) {
        self.wanted = None;
        let (pool, replica) = (&self.spec.pool_id, &self.replica_id);
        if let Err(error) = promises::forget(&self.shared.record_dir, pool, replica) {
            tracing::debug!(pool_id = %pool, replica_id = %replica, %error, "cannot forget that an engine slept");
        }
    }

    fn announce(&mut self) {
        if self.spec.sleep_after.is_some() {
            self.is_not_asleep();
        }
        let Some(running) = &mut self.running else {
            return;
        };
        running.is_loaded();
        let handoff = handoff(&self.spec, &self.replica_id, &running.url);
        if let Err(error) = self.shared.handoffs.announce(&handoff) {
            tracing::error!(
                pool_id = %self.spec.pool_id, replica_id = %self.replica_id, %error,
                "cannot write a handoff, so nobody knows of this engine; correct the runtime directory and restart the pool"
            );
        }
    }

    fn retract(&self) {
        let Some(running) = &self.running else { return };
        let (pool, replica) = (&self.spec.pool_id, &self.replica_id);
        if let Err(error) = self.shared.handoffs.retract(pool, replica, &running.url) {
            tracing::error!(
                pool_id = %pool, replica_id = %replica, %error,
                "cannot remove the handoff of an engine that goes; remove it by hand"
            );
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(running) = &self.running {
            running.process.identity().signal_group(signal);
        }
    }

    /// Tells everybody what became of it.
    fn tell(&self, before: Phase, error_before: Option<&Arc<str>>) {
        let (phase, error) = (self.machine.phase(), self.machine.last_error());
        self.publish_status();
        let pid = self
            .running
            .as_ref()
            .map(|running| running.process.identity().pid);
        let (pool_id, replica_id) = (&self.spec.pool_id, &self.replica_id);
        // The lines of its log are in its log.
        let error = error.and_then(|error| error.lines().next());
        let is_news =
            error.is_some() && error != error_before.and_then(|error| error.lines().next());
        match (phase, error.unwrap_or_default()) {
            (Phase::Failed, error) if before != Phase::Failed => {
                tracing::warn!(%pool_id, %replica_id, error, "Engine given up; correct the cause, then restart the pool");
            }
            (_, error) if is_news => {
                tracing::warn!(%pool_id, %replica_id, phase = phase.as_str(), error, "Engine does not run");
            }
            _ if phase != before => {
                tracing::info!(%pool_id, %replica_id, pid, "Engine {}", phase.as_str());
            }
            _ => {}
        }
    }

    fn publish_status(&self) {
        let running = self.running.as_ref();
        let phase = self.machine.phase();
        let url = running.map(|running| running.url.clone());
        let last_error = self.machine.last_error().cloned();
        self.row.set(EngineStatus {
            pool_id: self.spec.pool_id.clone(),
            replica_id: self.replica_id.clone(),
            phase,
            pid: running.map(|running| running.process.identity().pid),
            url: url.clone(),
            up_since: running.map(|running| running.since),
            restarts: self.machine.restarts(),
            adopted: running.is_some_and(|running| running.process.is_adopted()),
            last_error: last_error.clone(),
        });
        let seen = Seen {
            phase,
            url,
            last_error,
        };
        self.publish.send_if_modified(|before| {
            let changed = *before != seen;
            *before = seen;
            changed
        });
    }
}

async fn ended(running: Option<&mut Running>) -> Event {
    match running {
        Some(running) => running.ended().await,
        None => std::future::pending().await,
    }
}

async fn happened(awaited: Option<&mut BoxFuture<'static, Event>>) -> Event {
    match awaited {
        Some(awaited) => awaited.await,
        None => std::future::pending().await,
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
