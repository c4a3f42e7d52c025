//! `chat`: one answer, or a conversation turn by turn, streamed; with where it ran and how fast.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use llorch_client::{ChatRequest, Message, Piece, Routing, Timing};
use serde_json::{Value, json};

use super::{App, prompt};
use crate::{
    args,
    exit::{Failure, Outcome, of_request},
    output::{millis, note},
};

/// An answer that was read to its end.
struct Answer {
    text: String,
    chat: llorch_client::Chat,
}

impl App {
    pub(super) fn chat(&self, chat: args::Chat) -> Outcome {
        let routing = Routing {
            strategy: chat.strategy.clone(),
            ..chat.way.routing()
        };
        let mut request = ChatRequest {
            max_tokens: chat.sampling.max_tokens,
            temperature: chat.temperature,
            seed: chat.sampling.seed,
            ..ChatRequest::default()
        };
        if let Some(system) = chat.system {
            request.messages.push(message("system", system));
        }
        if chat.prompt.is_empty() && io::stdin().is_terminal() {
            request.model = self.model(chat.sampling.model)?;
            return self.converse(request, &routing, chat.quiet);
        }
        let text = prompt(&chat.prompt)?;
        request.model = self.model(chat.sampling.model)?;
        request.messages.push(message("user", text));
        let answer = self.answer(&request, &routing)?;
        if self.output.json {
            return Ok(self.output.json(&shown(&answer, &request.model))?);
        }
        if !chat.quiet {
            self.say_how(&answer);
        }
        Ok(())
    }

    /// Turn by turn, until the end of the input.
    fn converse(&self, mut request: ChatRequest, routing: &Routing, quiet: bool) -> Outcome {
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
            request.messages.push(message("user", line));
            match self.answer(&request, routing) {
                Ok(answer) => {
                    if self.output.json {
                        self.output.json(&shown(&answer, &request.model))?;
                    } else if !quiet {
                        self.say_how(&answer);
                    }
                    request.messages.push(message("assistant", answer.text));
                }
                // One failed turn does not end a conversation; it is as if it had not been.
                Err(Failure::Client(error)) => {
                    let (_, advice) = of_request(&error, self.client.has_token());
                    let separator = if advice.is_empty() { "" } else { "; " };
                    note(&format!("llorch: {error}{separator}{advice}"));
                    request.messages.pop();
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Asks, and shows the pieces as they come.
    fn answer(&self, request: &ChatRequest, routing: &Routing) -> Result<Answer, Failure> {
        let mut stream = self.client.chat(request, routing)?;
        let mut text = String::new();
        let mut begun = false;
        let ended = loop {
            match stream.next_piece() {
                Ok(Some(Piece::Text(piece))) => {
                    text.push_str(&piece);
                    if !self.output.json {
                        // Models begin with the blank that separates words.
                        let shown = if begun {
                            piece.as_str()
                        } else {
                            piece.trim_start()
                        };
                        begun |= !shown.is_empty();
                        self.output.piece(shown)?;
                    }
                }
                // What a model thinks is for people only.
                Ok(Some(Piece::Reasoning(piece))) => {
                    if self.output.terminal && !self.output.json {
                        let mut out = io::stdout().lock();
                        write!(out, "{}", self.output.dim(&piece)).and_then(|()| out.flush())?;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if begun {
            self.output.piece("\n")?;
        }
        ended?;
        Ok(Answer {
            text,
            chat: stream.finish(),
        })
    }

    fn say_how(&self, answer: &Answer) {
        let served = &answer.chat.served;
        let place = match (&served.node_id, &served.pool_id) {
            (Some(node), Some(pool)) => format!("{node}/{pool}"),
            (Some(node), None) => node.clone(),
            _ => self.client.url().to_owned(),
        };
        let mut parts = vec![place];
        if let Some(waited) = served.queue_ms.filter(|ms| *ms > 0) {
            parts.push(format!("{waited} ms in line"));
        }
        parts.extend(how_fast(&answer.chat.timing));
        if let Some(reason) = answer
            .chat
            .finish_reason
            .as_deref()
            .filter(|reason| *reason != "stop")
        {
            parts.push(format!("ended by {reason}"));
        }
        self.output.dim_note(&parts.join(" · "));
    }
}

fn how_fast(timing: &Timing) -> Vec<String> {
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

fn message(role: &'static str, content: String) -> Message {
    Message { role, content }
}

fn shown(answer: &Answer, model: &str) -> Value {
    let chat = &answer.chat;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    json!({
        "model": model,
        "text": answer.text,
        "finish_reason": chat.finish_reason,
        "node_id": chat.served.node_id,
        "pool_id": chat.served.pool_id,
        "attempts": chat.served.attempts,
        "queue_ms": chat.served.queue_ms,
        "request_id": chat.served.request_id,
        "tokens": chat.timing.tokens(),
        "first_token_ms": chat.timing.first.map(ms),
        "total_ms": ms(chat.timing.total),
        "tokens_per_s": chat.timing.tokens_per_second(),
    })
}
