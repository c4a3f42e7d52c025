//! `tasks`: inference without an open connection.

use std::{io::Write as _, time::Duration};

use llorch_client::TaskId;
use serde_json::{Value, json};

use super::{
    app::{App, prompt, routing},
    events::{as_json, next_event},
};
use crate::{
    args::{Submit, Workload},
    exit::{Exit, Failure, Outcome},
    interrupt_message,
    output::{note, time},
};

/// Failed reconnections in a row before the command gives up: about half a minute.
const MAX_RECONNECTS: u32 = 12;

impl App {
    pub(super) fn submit(&self, submit: &Submit) -> Outcome {
        let (model, words) =
            self.model_and_prompt(submit.sampling.model.clone(), submit.prompt.clone())?;
        let text = prompt(&words)?;
        let model = self.model(model)?;
        let accepted = self.client.submit(&body(submit, &model, text))?;
        let task = accepted.read()?;
        if submit.follow {
            let id: TaskId = task
                .task_id
                .parse()
                .map_err(|error| Failure::Message(Exit::Failed, format!("{error}")))?;
            if !self.output.json {
                note(&format!("task {id}"));
            }
            return self.task_events(&id, None);
        }
        if self.output.json {
            return Ok(self.output.json(&accepted.raw)?);
        }
        note(&match task.queue_position {
            0 => "it runs now, or next".to_owned(),
            position => format!("{position} before it in the queue"),
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
            "{}, {}, {} tokens so far, submitted {age} ago",
            task.model_ref, task.priority, task.tokens_out
        ))?;
        if let Some(position) = task.queue_position {
            self.output
                .line(&format!("{position} before it in the queue"))?;
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
        interrupt_message::set(format!(
            "the task continues; `llorch tasks events {task}` reads it, `llorch tasks cancel \
             {task}` stops it"
        ));
        let mut subscription = self.client.task_events(task, after);
        let mut in_text_line = false;
        while let Some(event) = next_event(&mut subscription, Some(MAX_RECONNECTS))? {
            let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
            if self.output.json {
                self.output.json(&as_json(&event))?;
            }
            match event.event.as_str() {
                "token" if !self.output.json && data["reasoning"] != true => {
                    let text = data["t"].as_str().unwrap_or_default();
                    self.output.part(if in_text_line {
                        text
                    } else {
                        text.trim_start()
                    })?;
                    in_text_line = true;
                }
                "embedding" if !self.output.json => {
                    self.output.line(&data["embedding"].to_string())?;
                }
                "end" => {
                    self.end_line(in_text_line)?;
                    return Ok(());
                }
                "error" => {
                    self.end_line(in_text_line)?;
                    let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
                    let exit = match text("code").as_str() {
                        "DEADLINE_EXCEEDED" => Exit::DeadlineExceeded,
                        _ => Exit::Failed,
                    };
                    let message =
                        format!("the task ended with {}: {}", text("code"), text("message"));
                    return Err(Failure::Message(exit, message));
                }
                _ => {}
            }
        }
        self.end_line(in_text_line)?;
        note("there are no events after that one");
        Ok(())
    }

    fn end_line(&self, in_text_line: bool) -> Outcome {
        if in_text_line && !self.output.json {
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
    let routing = routing(&submit.routing);
    let deadline_ms = routing.deadline.map(pool_registry_types::millis);
    let optional = [
        ("task_id", submit.id.as_ref().map(|id| json!(id))),
        ("max_tokens", submit.sampling.max_tokens.map(Value::from)),
        ("seed", submit.sampling.seed.map(Value::from)),
        (
            "priority",
            routing.priority.map(|priority| priority.as_str().into()),
        ),
        ("session_id", routing.session.map(Value::from)),
        ("deadline_ms", deadline_ms.map(Value::from)),
        (
            "placement",
            routing
                .pin_node
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
