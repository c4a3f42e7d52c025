//! `tasks`: inference that runs by itself.

use std::{io::Write as _, time::Duration};

use pool_registry_types::TaskId;
use serde_json::{Value, json};

use super::{
    App,
    events::{as_json, next},
    prompt,
};
use crate::{
    args::{Submit, Workload},
    exit::{Exit, Failure, Outcome},
    output::{note, time},
    parting,
};

/// How often in a row a lost connection is tried again before a task counts as lost: about half a
/// minute.
const MOST_FAILURES: u32 = 12;

impl App {
    pub(super) fn submit(&self, submit: &Submit) -> Outcome {
        let text = prompt(&submit.prompt)?;
        let model = self.model(submit.sampling.model.clone())?;
        let accepted = self.client.submit(&body(submit, &model, text))?;
        let task = accepted.read()?;
        if submit.follow {
            let id: TaskId = task
                .task_id
                .parse()
                .map_err(|error| Failure::Told(Exit::Failed, format!("{error}")))?;
            if !self.output.json {
                note(&format!("task {id}"));
            }
            return self.task_events(&id, None);
        }
        if self.output.json {
            return Ok(self.output.json(&accepted.raw)?);
        }
        note(&match task.queue_position {
            0 => "it runs, or is next".to_owned(),
            position => format!("{position} before it in line"),
        });
        Ok(self.output.line(&task.task_id)?)
    }

    pub(super) fn show_task(&self, task: &TaskId) -> Outcome {
        let answer = self.client.task(task)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let task = answer.read()?;
        let age = time(Duration::from_millis(task.age_ms));
        self.output
            .line(&format!("{} is {}", task.task_id, task.state))?;
        self.output.line(&format!(
            "{}, {}, {} tokens so far, came {age} ago",
            task.model_ref, task.priority, task.tokens_out
        ))?;
        if let Some(position) = task.queue_position {
            self.output.line(&format!("{position} before it in line"))?;
        }
        if let Some(error) = task.error {
            self.output
                .line(&format!("{}: {}", error.code, error.message))?;
        }
        Ok(())
    }

    pub(super) fn cancel_task(&self, task: &TaskId) -> Outcome {
        self.client.cancel(task)?;
        if self.output.json {
            return Ok(self
                .output
                .json(&json!({"task_id": task, "cancelled": true}))?);
        }
        Ok(self.output.line(&format!("{task} is cancelled"))?)
    }

    pub(super) fn task_events(&self, task: &TaskId, after: Option<String>) -> Outcome {
        parting::leave(format!(
            "the task goes on; `llorch tasks events {task}` reads it, `llorch tasks cancel \
             {task}` stops it"
        ));
        let mut follow = self.client.task_events(task, after);
        let mut in_line = false;
        while let Some(event) = next(&mut follow, Some(MOST_FAILURES))? {
            let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
            if self.output.json {
                self.output.json(&as_json(&event))?;
            }
            match event.event.as_str() {
                "token" if !self.output.json && data["reasoning"] != true => {
                    let text = data["t"].as_str().unwrap_or_default();
                    self.output
                        .piece(if in_line { text } else { text.trim_start() })?;
                    in_line = true;
                }
                "embedding" if !self.output.json => {
                    self.output.line(&data["embedding"].to_string())?
                }
                "end" => {
                    self.end_line(in_line)?;
                    return Ok(());
                }
                "error" => {
                    self.end_line(in_line)?;
                    let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
                    let exit = match text("code").as_str() {
                        "DEADLINE_EXCEEDED" => Exit::Late,
                        _ => Exit::Failed,
                    };
                    let message =
                        format!("the task ended with {}: {}", text("code"), text("message"));
                    return Err(Failure::Told(exit, message));
                }
                _ => {}
            }
        }
        self.end_line(in_line)?;
        note("there is nothing after that event");
        Ok(())
    }

    fn end_line(&self, in_line: bool) -> Outcome {
        if in_line && !self.output.json {
            writeln!(std::io::stdout().lock())?;
        }
        Ok(())
    }
}

fn body(submit: &Submit, model: &str, text: String) -> Value {
    let (workload, field, input) = match submit.workload {
        Workload::Chat => (
            "chat",
            "messages",
            json!([{"role": "user", "content": text}]),
        ),
        Workload::Completion => ("completion", "prompt", Value::String(text)),
        Workload::Embedding => ("embedding", "inputs", Value::String(text)),
    };
    let mut body = json!({"workload": workload, "model_ref": model});
    body[field] = input;
    let way = submit.way.routing();
    let optional = [
        ("task_id", submit.id.as_ref().map(|id| json!(id))),
        ("max_tokens", submit.sampling.max_tokens.map(Value::from)),
        ("seed", submit.sampling.seed.map(Value::from)),
        ("priority", way.priority.map(Value::from)),
        ("session_id", way.session.map(Value::from)),
        ("deadline_ms", way.deadline_ms.map(Value::from)),
        (
            "placement",
            way.pin_node
                .map(|node| json!({"mode": "pin", "node_id": node})),
        ),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}
