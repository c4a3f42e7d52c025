//! `drain` and `undrain`: take a node, a pool or a replica out of service, watch its requests
//! finish, put it back.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use llorch_client::{
    ClientError, Node, PoolTarget, Replica, Target,
    clock::{now, pause},
};
use pool_registry_types::{ErrorCode, NodeStatus};
use serde_json::json;

use super::App;
use crate::{
    args::Drain,
    exit::{Exit, Failure, Outcome},
    output::{count, note, time},
    parting,
};

/// How often the control plane is asked how far it is.
const POLL: Duration = Duration::from_millis(250);
/// A report counts when it is this much younger than the drain: what was on its way to the node
/// before it has arrived.
const SETTLED: Duration = Duration::from_millis(250);
/// A node reports a drain within a tenth of a second; after so long without a report of it there is
/// none.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
/// So often in a row it may be away, as it is while it restarts: half a minute.
const MOST_FAILURES: u32 = 120;

impl App {
    pub(super) fn drain(&self, drain: &Drain) -> Outcome {
        let target = &drain.target;
        let begun = self.client.drain(target, drain.deadline)?;
        if drain.wait {
            return self.wait(target, drain.deadline);
        }
        if self.output.json {
            let mut value = shown(target, None);
            if let Some(running) = begun.requests_running {
                value["requests_running"] = running.into();
            }
            return Ok(self.output.json(&value)?);
        }
        let running = match begun.requests_running {
            Some(running @ 1..) => format!("{} running now", count(running, "request")),
            _ => "running ones finish".to_owned(),
        };
        Ok(self.output.line(&format!(
            "{target} takes no new requests; {running} (--wait waits for them)"
        ))?)
    }

    pub(super) fn undrain(&self, target: &Target) -> Outcome {
        self.client.undrain(target)?;
        if self.output.json {
            return Ok(self
                .output
                .json(&json!({"target": target.to_string(), "draining": false}))?);
        }
        Ok(self
            .output
            .line(&format!("{target} takes requests again"))?)
    }

    fn wait(&self, target: &Target, deadline: Option<Duration>) -> Outcome {
        parting::leave(format!(
            "{target} goes on draining; `llorch undrain {target}` takes that back"
        ));
        let mut told = Told::new(target);
        let mut waited = Waited::default();
        let mut failures = 0;
        loop {
            let state = match self.client.node(&target.node) {
                Ok(answer) => {
                    waited.past_deadline =
                        deadline.is_some_and(|deadline| told.began.elapsed() >= deadline);
                    waited.overdue = told.began.elapsed() >= REPORTED_WITHIN;
                    judge(&answer.read()?, target, &mut waited)
                }
                // It has left, as it does when it is stopped: nothing runs there.
                Err(error) if error.is(ErrorCode::UnknownNode) => State::Empty,
                Err(error) if again(&error) && failures < MOST_FAILURES => {
                    failures += 1;
                    pause(POLL);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            failures = 0;
            match state {
                State::Busy { requests } => told.progress(requests, ""),
                State::Unsure => told.progress(0, "waiting for the node's next report"),
                State::Empty => {
                    told.end();
                    let waited = told.began.elapsed();
                    if self.output.json {
                        return Ok(self.output.json(&shown(target, Some(waited)))?);
                    }
                    return Ok(self
                        .output
                        .line(&format!("{target} is empty after {}", time(waited)))?);
                }
                State::Over { requests } => {
                    told.end();
                    let requests = count(requests, "request");
                    let message = format!(
                        "the deadline has passed and {requests} still run on {target}; drain \
                         again without --deadline to wait on"
                    );
                    return Err(Failure::Told(Exit::Late, message));
                }
                State::Undrained => {
                    told.end();
                    let message = format!("somebody has put {target} back into service meanwhile");
                    return Err(Failure::Told(Exit::Failed, message));
                }
                State::Offline => {
                    told.end();
                    let message = format!(
                        "{target} is offline: whether something still runs there cannot be told; \
                         look at the machine"
                    );
                    return Err(Failure::Told(Exit::Unavailable, message));
                }
                State::Gone => {
                    told.end();
                    return Err(Failure::Told(
                        Exit::NotFound,
                        format!("there is no {target} any more"),
                    ));
                }
            }
            pause(POLL);
        }
    }
}

fn again(error: &ClientError) -> bool {
    error.is_connection() || error.is(ErrorCode::ShuttingDown)
}

fn shown(target: &Target, waited: Option<Duration>) -> serde_json::Value {
    let mut value = json!({"target": target.to_string(), "draining": true});
    if let Some(waited) = waited {
        value["empty"] = true.into();
        value["waited_ms"] = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX).into();
    }
    value
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Requests run: as many as the control plane has there, where it tells, otherwise as many as
    /// the node reported.
    Busy { requests: u64 },
    /// The last report may be older than what still runs, or than the end of what ran.
    Unsure,
    /// Nothing runs.
    Empty,
    /// Requests run, and the deadline has passed.
    Over { requests: u64 },
    /// It does not drain any more.
    Undrained,
    /// Nobody knows.
    Offline,
    /// The pool or the replica is gone.
    Gone,
}

/// What is remembered of a replica's drain. The node owns it, and its report says whether there is
/// one.
#[derive(Debug, Default)]
struct Waited {
    /// A report has said that it drains.
    reported: bool,
    /// A report that says so should have come.
    overdue: bool,
    /// The deadline has passed.
    past_deadline: bool,
}

/// What a node's state says about the drain of `target`.
fn judge(node: &Node, target: &Target, waited: &mut Waited) -> State {
    let drain = match &target.pool {
        None => node.drain,
        Some(PoolTarget { pool, replica }) => {
            let pool = node.pools.iter().find(|has| has.status.pool_id == *pool);
            match (pool, replica) {
                (None, _) => return State::Gone,
                (Some(pool), None) => pool.drain,
                (Some(pool), Some(id)) => {
                    let replica = pool
                        .replicas
                        .iter()
                        .find(|has| has.status.replica_id == *id);
                    return replica
                        .map_or(State::Gone, |replica| judge_replica(node, replica, waited));
                }
            }
        }
    };
    let Some(drain) = drain else {
        return State::Undrained;
    };
    if node.status == NodeStatus::Offline {
        return State::Offline;
    }
    let reported = u64::from(drain.slots_busy);
    // Requests of others, and those that an engine has not left yet, are in the node's report only.
    let running = drain
        .requests_running
        .filter(|&ours| ours > 0)
        .unwrap_or(reported);
    let reported_after = drain.for_ms.saturating_sub(node.last_heartbeat_age_ms);
    let settled = Duration::from_millis(reported_after) >= SETTLED;
    match (running, settled) {
        (0, true) => State::Empty,
        (requests, true) if drain.deadline_ms == Some(0) => State::Over {
            requests: requests.max(reported),
        },
        // Nothing of ours runs any more, and the report has not heard of that yet.
        _ if drain.requests_running == Some(0) => State::Unsure,
        (0, false) => State::Unsure,
        (requests, _) => State::Busy { requests },
    }
}

/// A replica drains by its node's report, so what that says of running requests is from after the
/// beginning.
fn judge_replica(node: &Node, replica: &Replica, waited: &mut Waited) -> State {
    if node.status == NodeStatus::Offline {
        return State::Offline;
    }
    let status = &replica.status;
    if !status.draining {
        return if waited.reported || waited.overdue {
            State::Undrained
        } else {
            State::Unsure
        };
    }
    waited.reported = true;
    // A replica that takes no new requests has no free slot, so its slots say nothing of those that
    // run.
    let of_engine = status.load.running.map(u64::from);
    let busy = || u64::from(status.slots_total().saturating_sub(status.slots_free()));
    match replica.requests_running.max(of_engine).unwrap_or_else(busy) {
        0 => State::Empty,
        requests if waited.past_deadline => State::Over { requests },
        requests => State::Busy { requests },
    }
}

/// Tells a person how far it is: a bar on a terminal, otherwise a line for each change.
struct Told {
    bar: ProgressBar,
    by_line: bool,
    target: String,
    most: u64,
    /// What was last told, as a line.
    last: String,
    began: Instant,
}

impl Told {
    fn new(target: &Target) -> Self {
        let bar = ProgressBar::no_length();
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:30}] {pos} of {len} finished, {elapsed} {msg}",
        );
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        bar.set_prefix(format!("draining {target}"));
        Self {
            bar,
            by_line: !io::stderr().is_terminal(),
            target: target.to_string(),
            most: 0,
            last: String::new(),
            began: now(),
        }
    }

    fn progress(&mut self, busy: u64, message: &'static str) {
        // A report that came later may count more than the one before.
        self.most = self.most.max(busy);
        self.bar.set_length(self.most);
        self.bar.set_position(self.most.saturating_sub(busy));
        self.bar.set_message(message);
        let told = if message.is_empty() {
            format!("{} running", count(busy, "request"))
        } else {
            message.to_owned()
        };
        if self.by_line && self.last != told {
            note(&format!("draining {}: {told}", self.target));
        }
        self.last = told;
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(status: &str, heard_ms: u64, drain: &serde_json::Value) -> Node {
        serde_json::from_value(json!({
            "node_id":"gpu-1","address":"http://h:1","status":status,"last_heartbeat_age_ms":heard_ms,"drain":drain,
            "pools":[{"pool_id":"p","ready":true,"draining":true,"slots_free":1,"slots_total":4,"drain":drain}],
        }))
        .unwrap()
    }

    // spec: CLI-7
    #[test]
    fn a_report_from_before_the_drain_proves_nothing() {
        let drain =
            |for_ms: u64, busy: u32| json!({"for_ms":for_ms,"deadline_ms":null,"slots_busy":busy});
        let over = |busy: u32| json!({"for_ms":9000,"deadline_ms":0,"slots_busy":busy});
        let live = |for_ms: u64, reported: u32, ours: u64| json!({"for_ms":for_ms,"deadline_ms":null,"slots_busy":reported,"requests_running":ours});
        for (status, heard, drain, expected) in [
            ("draining", 5000, drain(1000, 0), State::Unsure),
            ("draining", 900, drain(1000, 0), State::Unsure),
            // What the control plane counts goes before what the node reported, but does not end
            // the drain.
            (
                "draining",
                5000,
                live(1000, 0, 1),
                State::Busy { requests: 1 },
            ),
            (
                "draining",
                100,
                live(1000, 0, 1),
                State::Busy { requests: 1 },
            ),
            (
                "draining",
                100,
                live(1000, 3, 1),
                State::Busy { requests: 1 },
            ),
            ("draining", 5000, live(1000, 3, 0), State::Unsure),
            ("draining", 100, live(1000, 3, 0), State::Unsure),
            ("draining", 5000, live(1000, 0, 0), State::Unsure),
            ("draining", 100, live(1000, 0, 0), State::Empty),
            ("draining", 700, drain(1000, 0), State::Empty),
            (
                "draining",
                5000,
                drain(1000, 2),
                State::Busy { requests: 2 },
            ),
            ("draining", 100, drain(1000, 2), State::Busy { requests: 2 }),
            ("draining", 100, over(2), State::Over { requests: 2 }),
            ("draining", 100, over(0), State::Empty),
            ("offline", 60_000, drain(1000, 0), State::Offline),
            ("online", 100, json!(null), State::Undrained),
        ] {
            for target in ["gpu-1", "gpu-1/p"] {
                let node = node(status, heard, &drain);
                let state = judge(&node, &target.parse().unwrap(), &mut Waited::default());
                assert_eq!(state, expected, "{status} {heard} {drain} {target}");
            }
        }
        for gone in ["gpu-1/q", "gpu-1/p/r9"] {
            let node = node("draining", 1, &drain(1000, 0));
            let state = judge(&node, &gone.parse().unwrap(), &mut Waited::default());
            assert_eq!(state, State::Gone, "{gone}");
        }
    }

    // spec: CLI-31
    #[test]
    fn a_replica_drains_by_the_report_of_its_node() {
        let state = |status: &str,
                     draining: bool,
                     free: u32,
                     ours: Option<u64>,
                     waited: &mut Waited| {
            let node = serde_json::from_value(json!({
                "node_id":"gpu-1","address":"http://h:1","status":status,"last_heartbeat_age_ms":9000,
                "pools":[{"pool_id":"p","ready":true,"draining":false,"slots_free":1,"slots_total":4,"replicas":[
                    {"replica_id":"r0","ready":true,"slots_free":free,"slots_total":4,"draining":draining,"requests_running":ours}]}],
            }));
            judge(&node.unwrap(), &"gpu-1/p/r0".parse().unwrap(), waited)
        };
        let mut waited = Waited::default();
        // The report is on its way, and then it is not.
        assert_eq!(state("online", false, 4, None, &mut waited), State::Unsure);
        waited.overdue = true;
        assert_eq!(
            state("online", false, 4, None, &mut waited),
            State::Undrained
        );
        for (free, ours, expected) in [
            (1, None, State::Busy { requests: 3 }),
            (4, Some(2), State::Busy { requests: 2 }),
            (0, Some(0), State::Empty),
            (4, Some(0), State::Empty),
            (4, None, State::Empty),
        ] {
            assert_eq!(
                state("online", true, free, ours, &mut Waited::default()),
                expected
            );
        }
        waited = Waited {
            past_deadline: true,
            ..Waited::default()
        };
        assert_eq!(
            state("online", true, 3, None, &mut waited),
            State::Over { requests: 1 }
        );
        // Somebody took it back.
        assert_eq!(
            state("online", false, 4, None, &mut waited),
            State::Undrained
        );
        assert_eq!(state("offline", true, 3, None, &mut waited), State::Offline);
    }
}
