//! Many requests at once, half of them streamed, and what became of each.

use std::{
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use test_client::{Client, End, chain};
use test_clock::wait_for;

/// Asks for so many words in each request.
pub(crate) const WORDS: u32 = 200;

/// More requests than any test sends, with room to count on from there.
const ENDLESS: usize = usize::MAX / 2;
/// How long a busy machine may take for a few requests.
const LOAD_GOES_ON: Duration = Duration::from_secs(120);

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) streamed: bool,
    /// Who answered, by the answer's own header.
    pub(crate) node: String,
    /// Which of the pool's engines answered, by the answer's own header.
    pub(crate) replica: String,
    pub(crate) status: u16,
    /// How long it waited for a slot, by the answer's own header.
    pub(crate) queued: Duration,
    /// How many endpoints it was sent to.
    pub(crate) attempts: u32,
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

    /// Sends requests until the test has finished what it does meanwhile.
    pub(crate) fn while_it_lasts(client: Client, clients: usize) -> Self {
        Self::new(client, ENDLESS, clients)
    }

    /// How many requests have ended.
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire)
    }

    /// Waits until `more` requests have ended.
    pub(crate) fn wait_for(&self, more: usize) -> Result<()> {
        let enough = self.finished() + more;
        wait_for("the load to go on", LOAD_GOES_ON, || {
            self.finished() >= enough
        })
    }

    /// Sends all requests; `meanwhile` runs on the calling thread.
    pub(crate) fn run(&self, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<Vec<Outcome>> {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|_| scope.spawn(|| self.send_in_turn()))
                .collect();
            let result = meanwhile(self);
            if self.requests == ENDLESS {
                self.sent.store(ENDLESS, Ordering::Relaxed);
            }
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
            outcomes.push(ask(&self.client, number.is_multiple_of(2)));
            self.finished.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Sends one request, and waits for its end.
pub(crate) fn ask(client: &Client, streamed: bool) -> Outcome {
    let outcome = if streamed {
        stream(client)
    } else {
        whole(client)
    };
    outcome.unwrap_or_else(|error| Outcome {
        streamed,
        node: String::new(),
        replica: String::new(),
        status: 0,
        queued: Duration::ZERO,
        attempts: 0,
        text: String::new(),
        end: End::Silent(format!("{error:#}")),
    })
}

fn stream(client: &Client) -> Result<Outcome> {
    let streamed = client.chat_stream(WORDS)?.finish();
    Ok(Outcome {
        streamed: true,
        node: streamed.header("x-llorch-node").to_owned(),
        replica: streamed.header("x-llorch-replica").to_owned(),
        status: streamed.status,
        queued: Duration::from_millis(number(streamed.header("x-llorch-queue-ms"))),
        attempts: number(streamed.header("x-llorch-attempts")),
        text: streamed.text(),
        end: streamed.end,
    })
}

fn whole(client: &Client) -> Result<Outcome> {
    let answer = client.chat(WORDS)?;
    Ok(Outcome {
        streamed: false,
        node: answer.header("x-llorch-node").to_owned(),
        replica: answer.header("x-llorch-replica").to_owned(),
        status: answer.status,
        queued: Duration::from_millis(number(answer.header("x-llorch-queue-ms"))),
        attempts: number(answer.header("x-llorch-attempts")),
        text: answer.text().unwrap_or_else(|error| error.to_string()),
        end: End::Done,
    })
}

/// The number in a header; 0 when there is none.
fn number<N: FromStr + Default>(header: &str) -> N {
    header.parse().unwrap_or_default()
}

/// How many of the outcomes each of the nodes answered.
pub(crate) fn shares<'a>(
    outcomes: impl IntoIterator<Item = &'a Outcome>,
    nodes: &[&str],
) -> Vec<usize> {
    let mut shares = vec![0; nodes.len()];
    for outcome in outcomes {
        if let Some(place) = nodes.iter().position(|node| outcome.node == *node) {
            shares[place] += 1;
        }
    }
    shares
}
