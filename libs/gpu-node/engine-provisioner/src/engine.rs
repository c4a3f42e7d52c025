//! The task of one engine: executes the effects of its state machine and feeds back events.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use pool_registry_types::{Handoff, ReplicaId};
use service_runtime::{Shutdown, Tasks};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    context::Context,
    core::{EngineEffect, EngineEvent, EngineMachine, Policy},
    engine_handle::{CommandReceiver, EngineHandle, EngineSnapshot},
    handoff_directory::handoff,
    running_engine::RunningEngine,
    scaled_to_zero,
    spec::PoolSpec,
    status::{EnginePhase, EngineStatus, StatusRow},
    wait::{drained, ready},
};

/// Commands that wait for an engine; the task takes them between two effects.
const COMMAND_QUEUE: usize = 8;

/// How an engine begins.
#[derive(Debug)]
pub(crate) enum EngineStart {
    /// Start it.
    Start,
    /// Start it; it must become ready at its first attempt.
    Candidate,
    /// Adopt the process of an earlier agent.
    Adopt(Box<RunningEngine>),
    /// Offer it: it was scaled to zero when an earlier agent ended.
    ScaledToZero(Box<Handoff>),
}

/// Supervises an engine of `spec` until `shutdown` is requested. Its process continues then.
pub(crate) fn supervise(
    context: &Arc<Context>,
    spec: Arc<PoolSpec>,
    replica_id: ReplicaId,
    start: EngineStart,
    tasks: &Tasks,
    shutdown: Shutdown,
) -> EngineHandle {
    let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
    let candidate = matches!(start, EngineStart::Candidate);
    let (first, running, offer) = match start {
        EngineStart::Start | EngineStart::Candidate => (EngineEvent::Start, None, None),
        EngineStart::Adopt(running) => (EngineEvent::Adopt, Some(*running), None),
        EngineStart::ScaledToZero(offer) => (EngineEvent::ScaleToZero, None, Some(*offer)),
    };
    let initial = EngineSnapshot {
        phase: EnginePhase::Starting,
        url: None,
        last_error: None,
    };
    let (publish, snapshots) = watch::channel(initial);
    let engine = Engine {
        row: context.board.row(),
        machine: EngineMachine::new(Policy::from(&*spec), candidate),
        context: context.clone(),
        spec: spec.clone(),
        replica_id,
        running,
        pending_check: None,
        offer,
        demand: None,
        publish,
    };
    tasks.spawn("engine", engine.run(first, receiver, shutdown));
    EngineHandle {
        spec,
        commands,
        snapshots,
    }
}

struct Engine {
    context: Arc<Context>,
    spec: Arc<PoolSpec>,
    replica_id: ReplicaId,
    machine: EngineMachine,
    running: Option<RunningEngine>,
    /// Waits until it is ready, or until it is drained.
    pending_check: Option<BoxFuture<'static, EngineEvent>>,
    /// The last offer without a handoff, also of an earlier agent.
    offer: Option<Handoff>,
    /// Waits for a request while it is scaled to zero.
    demand: Option<BoxFuture<'static, EngineEvent>>,
    row: StatusRow,
    publish: watch::Sender<EngineSnapshot>,
}

impl Engine {
    async fn run(mut self, first: EngineEvent, mut commands: CommandReceiver, shutdown: Shutdown) {
        let mut handle_dropped = false;
        self.handle(first).await;
        while !(handle_dropped && self.machine.phase().is_at_rest()) {
            let mut begun = None;
            let event = tokio::select! {
                biased;
                () = shutdown.requested() => return,
                command = commands.recv(), if !handle_dropped => match command {
                    Some((command, on_begun)) => {
                        begun = Some(on_begun);
                        command.into()
                    }
                    None => {
                        handle_dropped = true;
                        EngineEvent::Stop
                    }
                },
                event = ended(self.running.as_mut()) => event,
                event = completed(self.pending_check.as_mut()) => {
                    self.pending_check = None;
                    event
                }
                event = completed(self.demand.as_mut()) => {
                    self.demand = None;
                    event
                }
                () = passed(self.machine.deadline()) => EngineEvent::Tick,
            };
            self.handle(event).await;
            if let Some(begun) = begun {
                let _ = begun.send(());
            }
        }
    }

    /// Applies an event, executes its effects, and publishes the result.
    async fn handle(&mut self, event: EngineEvent) {
        let before = (self.machine.phase(), self.machine.last_error().cloned());
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.machine.on(event, Instant::now()) {
                events.extend(self.execute(effect).await);
            }
        }
        self.publish_status();
        self.log_change(before.0, before.1.as_ref());
    }

    async fn execute(&mut self, effect: EngineEffect) -> Option<EngineEvent> {
        match effect {
            EngineEffect::Spawn => return self.spawn().await.err().map(EngineEvent::StartFailed),
            EngineEffect::Probe => self.await_readiness(),
            EngineEffect::WriteHandoff => self.write_handoff(),
            EngineEffect::RemoveHandoff => self.remove_handoff(),
            EngineEffect::OfferScaledToZero => self.offer_scaled_to_zero(),
            EngineEffect::WithdrawOffer => self.withdraw_offer(),
            EngineEffect::ReadUsage => {
                let usage = self.context.registry.usage(&self.spec.pool_id);
                return Some(EngineEvent::UsageRead(usage));
            }
            EngineEffect::AwaitDrained => {
                let registry = self.context.registry.clone();
                self.pending_check = self.running.as_ref().map(|running| {
                    let url = running.url.clone();
                    async move { drained(&registry, &url).await }.boxed()
                });
            }
            EngineEffect::Terminate => {
                self.pending_check = None;
                self.signal(rustix::process::Signal::TERM);
            }
            EngineEffect::Kill => self.signal(rustix::process::Signal::KILL),
            EngineEffect::CleanUp => {
                self.pending_check = None;
                if let Some(running) = self.running.take() {
                    running.clean_up();
                }
            }
        }
        None
    }

    async fn spawn(&mut self) -> Result<(), String> {
        // Show it as starting during its checks, which may take seconds.
        self.publish_status();
        let running = RunningEngine::start(&self.context, &self.spec, &self.replica_id).await?;
        self.running = Some(running);
        self.await_readiness();
        Ok(())
    }

    fn await_readiness(&mut self) {
        let (kind, api_key_file) = (self.spec.engine.clone(), self.spec.api_key_file.clone());
        self.pending_check = self.running.as_ref().map(|running| {
            let url = running.url.clone();
            async move { ready(&kind, &url, api_key_file).await }.boxed()
        });
    }

    fn offer_scaled_to_zero(&mut self) {
        let announced = (self.running.as_ref())
            .map(|running| handoff(&self.spec, &self.replica_id, &running.url));
        let Some(offer) = announced.or(self.offer.take()) else {
            return;
        };
        let (registry, pool, replica) = (
            self.context.registry.clone(),
            self.spec.pool_id.clone(),
            self.replica_id.clone(),
        );
        let offer = registry.set_scaled_to_zero(offer);
        self.offer = Some(offer.clone());
        if let Err(error) = scaled_to_zero::save(&self.context.record_dir, &self.spec, &offer) {
            let dir = self.context.record_dir.display();
            tracing::warn!(
                pool_id = %pool, replica_id = %replica, %dir, %error,
                "cannot record that an engine is scaled to zero, so a restart of the agent starts \
                 it; correct the state directory"
            );
        }
        let demand = async move {
            registry.wait_for_demand(&pool, &replica).await;
            EngineEvent::Demanded
        };
        self.demand = Some(demand.boxed());
    }

    fn withdraw_offer(&mut self) {
        let reason = self.machine.last_error().map(|error| &**error);
        // Keep the offer of another engine that has replaced this one.
        if let Some(offer) = self.offer.take()
            && self.context.registry.withdraw_offer(&offer, reason)
        {
            self.forget_offer();
        }
    }

    /// The next agent should start or adopt the engine.
    fn forget_offer(&mut self) {
        self.demand = None;
        let (pool, replica) = (&self.spec.pool_id, &self.replica_id);
        if let Err(error) = scaled_to_zero::remove(&self.context.record_dir, pool, replica) {
            tracing::debug!(
                pool_id = %pool, replica_id = %replica, %error,
                "cannot remove the record of an engine that was scaled to zero"
            );
        }
    }

    fn write_handoff(&mut self) {
        if self.spec.sleep_after.is_some() {
            self.forget_offer();
        }
        let Some(running) = &mut self.running else {
            return;
        };
        running.release_vram();
        let handoff = handoff(&self.spec, &self.replica_id, &running.url);
        if let Err(error) = self.context.handoffs.write(&handoff) {
            tracing::error!(
                pool_id = %self.spec.pool_id, replica_id = %self.replica_id, %error,
                "cannot write the handoff of an engine, so it gets no requests; correct the \
                 runtime directory and restart the pool"
            );
        }
    }

    fn remove_handoff(&self) {
        let Some(running) = &self.running else { return };
        let (pool, replica) = (&self.spec.pool_id, &self.replica_id);
        if let Err(error) = (self.context.handoffs).remove(pool, replica, &running.url) {
            tracing::error!(
                pool_id = %pool, replica_id = %replica, %error,
                "cannot remove the handoff of an engine that stops; remove the file"
            );
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(running) = &self.running {
            running.process.identity().signal_group(signal);
        }
    }

    fn log_change(&self, before: EnginePhase, error_before: Option<&Arc<str>>) {
        let (phase, error) = (self.machine.phase(), self.machine.last_error());
        let pid = (self.running.as_ref()).map(|running| running.process.identity().pid);
        let (pool_id, replica_id) = (&self.spec.pool_id, &self.replica_id);
        // Only the first line: the others are lines of the engine's log.
        let error = error.and_then(|error| error.lines().next());
        let error_before = error_before.and_then(|error| error.lines().next());
        let is_new = error.is_some() && error != error_before;
        match (phase, error.unwrap_or_default()) {
            (EnginePhase::Failed, error) if before != EnginePhase::Failed => tracing::warn!(
                %pool_id, %replica_id, error,
                "Engine given up; correct the cause, then restart the pool"
            ),
            (_, error) if is_new => tracing::warn!(
                %pool_id, %replica_id, phase = phase.as_str(), error, "Engine does not run"
            ),
            _ if phase != before => {
                tracing::info!(%pool_id, %replica_id, pid, "Engine {}", phase.as_str());
            }
            _ => {}
        }
    }

    fn publish_status(&self) {
        let running = self.running.as_ref();
        let snapshot = EngineSnapshot {
            phase: self.machine.phase(),
            url: running.map(|running| running.url.clone()),
            last_error: self.machine.last_error().cloned(),
        };
        self.row.set(EngineStatus {
            pool_id: self.spec.pool_id.clone(),
            replica_id: self.replica_id.clone(),
            phase: snapshot.phase,
            pid: running.map(|running| running.process.identity().pid),
            url: snapshot.url.clone(),
            up_since: running.map(|running| running.since),
            restarts: self.machine.restarts(),
            adopted: running.is_some_and(|running| running.process.is_adopted()),
            last_error: snapshot.last_error.clone(),
        });
        self.publish.send_if_modified(|before| {
            let changed = *before != snapshot;
            *before = snapshot;
            changed
        });
    }
}

async fn ended(running: Option<&mut RunningEngine>) -> EngineEvent {
    match running {
        Some(running) => running.ended().await,
        None => std::future::pending().await,
    }
}

async fn completed(future: Option<&mut BoxFuture<'static, EngineEvent>>) -> EngineEvent {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
