//! `chat`: a streamed answer, or a conversation, with where it ran and how fast.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use llorch_client::{ChatDelta, ChatRequest, ChatSummary, ChatTiming, Message, RoutingOptions};
use serde_json::{Value, json};

use super::app::{App, prompt, routing};
use crate::{
    args,
    exit::{Failure, Outcome, advice_for},
    output::{millis, note},
};

/// A complete answer.
struct Answer {
    text: String,
    summary: ChatSummary,
}

impl App {
    pub(super) fn chat(&self, chat: args::Chat) -> Outcome {
        let mut routing = routing(&chat.routing);
        routing.strategy = chat.strategy;
        let mut request = ChatRequest::new("", Vec::new());
        request.max_tokens = chat.sampling.max_tokens;
        request.temperature = chat.temperature;
        request.seed = chat.sampling.seed;
        if let Some(system) = chat.system {
            request.messages.push(Message::system(system));
        }
        let (model, words) = self.model_and_prompt(chat.sampling.model, chat.prompt)?;
        if words.is_empty() && io::stdin().is_terminal() {
            request.model = self.model(model)?;
            return self.converse(request, &routing, chat.quiet);
        }
        let text = prompt(&words)?;
        request.model = self.model(model)?;
        request.messages.push(Message::user(text));
        let answer = self.answer(&request, &routing)?;
        if self.output.json {
            return Ok(self.output.json(&as_json(&answer, &request.model))?);
        }
        if !chat.quiet {
            self.print_summary(&answer);
        }
        Ok(())
    }

    /// Reads one message per line until the end of the input.
    fn converse(&self, mut request: ChatRequest, routing: &RoutingOptions, quiet: bool) -> Outcome {
        note(&format!(
            "{} at {}; Ctrl-D ends",
            request.model,
            self.client.url()
        ));
        let mut lines = io::stdin().lock().lines();
        loop {
            let mut err = io::stderr();
            let _ = write!(err, "> ").and_then(|()| err.flush());
            let Some(line) = lines.next() else {
                note("");
                return Ok(());
            };
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            request.messages.push(Message::user(line));
            match self.answer(&request, routing) {
                Ok(answer) => {
                    if self.output.json {
                        self.output.json(&as_json(&answer, &request.model))?;
                    } else if !quiet {
                        self.print_summary(&answer);
                    }
                    request.messages.push(Message::assistant(answer.text));
                }
                // A failed turn is removed, and the conversation continues.
                Err(Failure::Client(error)) => {
                    let (_, advice) = advice_for(&error, self.client.has_token());
                    let separator = if advice.is_empty() { "" } else { "; " };
                    note(&format!("llorch: {error}{separator}{advice}"));
                    request.messages.pop();
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Sends the chat, and prints the answer as it arrives.
    fn answer(&self, request: &ChatRequest, routing: &RoutingOptions) -> Result<Answer, Failure> {
        let mut stream = self.client.chat(request, routing)?;
        let mut text = String::new();
        let mut has_text = false;
        let ended = loop {
            match stream.next_delta() {
                Ok(Some(ChatDelta::Text(piece))) => {
                    text.push_str(&piece);
                    if !self.output.json {
                        // Many models begin an answer with a space.
                        let shown = if has_text {
                            piece.as_str()
                        } else {
                            piece.trim_start()
                        };
                        has_text |= !shown.is_empty();
                        self.output.part(shown)?;
                    }
                }
                // Reasoning is printed for people only, not for programs.
                Ok(Some(ChatDelta::Reasoning(piece))) => {
                    if self.output.terminal && !self.output.json {
                        let mut out = io::stdout().lock();
                        write!(out, "{}", self.output.dim(&piece)).and_then(|()| out.flush())?;
                    }
                }
                Ok(None) => break Ok(()),
                // A kind of delta that a later client adds.
                Ok(Some(_)) => {}
                Err(error) => break Err(error),
            }
        };
        if has_text {
            self.output.part("\n")?;
        }
        ended?;
        Ok(Answer {
            text,
            summary: stream.finish(),
        })
    }

    fn print_summary(&self, answer: &Answer) {
        let served_by = &answer.summary.served_by;
        let endpoint = match (&served_by.node_id, &served_by.pool_id) {
            (Some(node), Some(pool)) => format!("{node}/{pool}"),
            (Some(node), None) => node.clone(),
            _ => self.client.url().to_owned(),
        };
        let mut parts = vec![endpoint];
        if let Some(waited) = served_by.queue_ms.filter(|ms| *ms > 0) {
            parts.push(format!("{waited} ms queued"));
        }
        parts.extend(speed(&answer.summary.timing));
        if let Some(reason) = answer
            .summary
            .finish_reason
            .as_deref()
            .filter(|reason| *reason != "stop")
        {
            parts.push(format!("ended by {reason}"));
        }
        self.output.dim_note(&parts.join(" · "));
    }
}

fn speed(timing: &ChatTiming) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(first) = timing.first {
        parts.push(format!(
            "first token after {}",
            millis(first.as_secs_f64() * 1000.0)
        ));
    }
    parts.push(format!("{} tokens", timing.tokens()));
    if let Some(speed) = timing.tokens_per_second() {
        parts.push(format!("{speed:.1} tokens/s"));
    }
    parts
}

fn as_json(answer: &Answer, model: &str) -> Value {
    let summary = &answer.summary;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    json!({
        "model": model,
        "text": answer.text,
        "finish_reason": summary.finish_reason,
        "node_id": summary.served_by.node_id,
        "pool_id": summary.served_by.pool_id,
        "attempts": summary.served_by.attempts,
        "queue_ms": summary.served_by.queue_ms,
        "request_id": summary.served_by.request_id,
        "tokens": summary.timing.tokens(),
        "first_token_ms": summary.timing.first.map(ms),
        "total_ms": ms(summary.timing.total),
        "tokens_per_s": summary.timing.tokens_per_second(),
    })
}
