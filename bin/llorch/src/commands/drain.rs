//! `drain` and `undrain`: take a node, a pool or a replica out of service, wait for its requests,
//! and put it back.

mod progress;
mod state;

use std::time::Duration;

use llorch_client::{ClientError, DrainTarget, ErrorCode};
use serde_json::{Value, json};

use self::{
    progress::DrainProgress,
    state::{DrainState, ReplicaReports, drain_state},
};
use super::App;
use crate::{
    args::Drain,
    clock::pause,
    exit::{Exit, Failure, Outcome},
    interrupt_message,
    output::{count, time},
};

/// How often `--wait` polls the control plane.
const POLL: Duration = Duration::from_millis(250);
/// A node reports a drain within 100 ms. Without a report after this time there is no drain.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
/// Failed polls in a row before the wait fails: half a minute, enough for a restart.
const MAX_FAILURES: u32 = 120;

impl App {
    pub(super) fn drain(&self, drain: &Drain) -> Outcome {
        let target = &drain.target;
        let started = self.client.drain(target, drain.deadline)?;
        if drain.wait {
            return self.wait(target, drain.deadline);
        }
        if self.output.json {
            let mut value = as_json(target, None);
            if let Some(running) = started.requests_running {
                value["requests_running"] = running.into();
            }
            return Ok(self.output.json(&value)?);
        }
        let running = match started.requests_running {
            Some(running @ 1..) => format!("{} running now", count(running, "request")),
            _ => "running ones finish".to_owned(),
        };
        Ok(self.output.line(&format!(
            "{target} accepts no new requests; {running} (--wait waits for them)"
        ))?)
    }

    pub(super) fn undrain(&self, target: &DrainTarget) -> Outcome {
        self.client.undrain(target)?;
        if self.output.json {
            return Ok(self
                .output
                .json(&json!({"target": target.to_string(), "draining": false}))?);
        }
        Ok(self
            .output
            .line(&format!("{target} accepts requests again"))?)
    }

    fn wait(&self, target: &DrainTarget, deadline: Option<Duration>) -> Outcome {
        interrupt_message::set(format!(
            "{target} continues to drain; `llorch undrain {target}` undoes that"
        ));
        let mut progress = DrainProgress::new(target);
        let mut reports = ReplicaReports::default();
        let mut failures = 0;
        loop {
            let state = match self.client.node(&target.node) {
                Ok(answer) => {
                    reports.past_deadline =
                        deadline.is_some_and(|deadline| progress.elapsed() >= deadline);
                    reports.overdue = progress.elapsed() >= REPORTED_WITHIN;
                    drain_state(&answer.read()?, target, &mut reports)
                }
                // The node has deregistered, so no request runs there.
                Err(error) if error.has_code(ErrorCode::UnknownNode) => DrainState::Empty,
                Err(error) if is_retriable(&error) && failures < MAX_FAILURES => {
                    failures += 1;
                    pause(POLL);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            failures = 0;
            match state {
                DrainState::Busy { requests } => progress.update(requests, ""),
                DrainState::Unknown => progress.update(0, "waiting for the node's next report"),
                DrainState::Empty => {
                    progress.finish();
                    let waited = progress.elapsed();
                    if self.output.json {
                        return Ok(self.output.json(&as_json(target, Some(waited)))?);
                    }
                    return Ok(self
                        .output
                        .line(&format!("{target} is empty after {}", time(waited)))?);
                }
                DrainState::PastDeadline { requests } => {
                    progress.finish();
                    let requests = count(requests, "request");
                    let message = format!(
                        "the deadline has passed and {requests} still run on {target}; drain \
                         again without --deadline to continue"
                    );
                    return Err(Failure::Message(Exit::DeadlineExceeded, message));
                }
                DrainState::Undrained => {
                    progress.finish();
                    let message = format!("{target} was put back into service meanwhile");
                    return Err(Failure::Message(Exit::Failed, message));
                }
                DrainState::Offline => {
                    progress.finish();
                    let message = format!(
                        "{target} is offline: whether requests still run there is unknown; \
                         look at the machine"
                    );
                    return Err(Failure::Message(Exit::Unavailable, message));
                }
                DrainState::Removed => {
                    progress.finish();
                    return Err(Failure::Message(
                        Exit::NotFound,
                        format!("{target} does not exist any more"),
                    ));
                }
            }
            pause(POLL);
        }
    }
}

fn is_retriable(error: &ClientError) -> bool {
    error.is_connection() || error.has_code(ErrorCode::ShuttingDown)
}

fn as_json(target: &DrainTarget, waited: Option<Duration>) -> Value {
    let mut value = json!({"target": target.to_string(), "draining": true});
    if let Some(waited) = waited {
        value["empty"] = true.into();
        value["waited_ms"] = pool_registry_types::millis(waited).into();
    }
    value
}
