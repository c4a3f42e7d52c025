//! Many requests at once, half of them streamed, and what became of each.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::Result;
use xtask::http::{Client, End, chain};

/// Asks for so many words in each request.
pub(crate) const WORDS: u32 = 200;

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) streamed: bool,
    /// Who answered, by the answer's own header.
    pub(crate) node: String,
    pub(crate) status: u16,
    pub(crate) text: String,
    /// How it ended; an unstreamed answer that was read to its end is done.
    pub(crate) end: End,
}

impl Outcome {
    /// The whole chain of words, properly ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.status == 200 && self.end == End::Done && self.text == chain(WORDS as usize)
    }

    /// Broken after it began, with the right words so far and a word about the end.
    pub(crate) fn is_honestly_broken(&self) -> bool {
        self.streamed
            && self.status == 200
            && self.end == End::Error("WORKER_RESET".to_owned())
            && chain(WORDS as usize).starts_with(&self.text)
    }
}

/// A number of requests to be sent by a number of clients, one after the other by each.
#[derive(Debug)]
pub(crate) struct Load {
    client: Client,
    requests: usize,
    clients: usize,
    sent: AtomicUsize,
    finished: AtomicUsize,
}

impl Load {
    pub(crate) fn new(client: Client, requests: usize, clients: usize) -> Self {
        Self {
            client,
            requests,
            clients,
            sent: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
        }
    }

    /// How many requests have ended.
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire)
    }

    /// Sends all requests; `meanwhile` runs on the calling thread.
    pub(crate) fn run(&self, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<Vec<Outcome>> {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|_| scope.spawn(|| self.send_in_turn()))
                .collect();
            let result = meanwhile(self);
            let outcomes = clients.into_iter().flat_map(|client| {
                client
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let outcomes = outcomes.collect();
            result.map(|()| outcomes)
        })
    }

    fn send_in_turn(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests {
                return outcomes;
            }
            outcomes.push(if number.is_multiple_of(2) {
                self.stream()
            } else {
                self.whole()
            });
            self.finished.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn stream(&self) -> Outcome {
        match self.client.chat_stream(WORDS) {
            Ok(stream) => {
                let streamed = stream.finish();
                Outcome {
                    streamed: true,
                    node: streamed.header("x-llorch-node").to_owned(),
                    status: streamed.status,
                    text: streamed.text(),
                    end: streamed.end,
                }
            }
            Err(error) => lost(true, &error),
        }
    }

    fn whole(&self) -> Outcome {
        match self.client.chat(WORDS) {
            Ok(answer) => Outcome {
                streamed: false,
                node: answer.header("x-llorch-node").to_owned(),
                status: answer.status,
                text: answer.text().unwrap_or_else(|error| error.to_string()),
                end: End::Done,
            },
            Err(error) => lost(false, &error),
        }
    }
}

fn lost(streamed: bool, error: &anyhow::Error) -> Outcome {
    Outcome {
        streamed,
        node: String::new(),
        status: 0,
        text: String::new(),
        end: End::Silent(format!("{error:#}")),
    }
}

/// How many of the outcomes each of the nodes answered.
pub(crate) fn shares(outcomes: &[Outcome], nodes: &[&str]) -> Vec<usize> {
    nodes
        .iter()
        .map(|node| outcomes.iter().filter(|outcome| outcome.node == *node).count())
        .collect()
}
