//! `bench`: a closed-loop load on any server of OpenAI's API, and the percentiles of what came of
//! it.

mod report;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use llorch_client::{
    ChatRequest, Client, ClientError, Message, Routing, Timing,
    clock::{now, pause},
};

use self::report::Report;
use super::App;
use crate::{
    args::Bench,
    exit::{Exit, Failure, Outcome},
    output::{count, note},
};

/// Requests when neither their number nor a time is given.
const USUAL_REQUESTS: u64 = 100;
/// The longest answer when nothing is said: long enough to see the pace, short enough to wait for.
const USUAL_TOKENS: u32 = 64;
/// A server that refuses or cannot be reached is not asked again at once: that would be another
/// measurement.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// When a run is over.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Requests(u64),
    Until(Instant),
}

/// What all threads of a run share.
struct Run<'a> {
    client: &'a Client,
    request: &'a ChatRequest,
    prompt: &'a str,
    stream: bool,
    limit: Limit,
    next: AtomicU64,
    bar: ProgressBar,
}

/// What came of all requests.
#[derive(Default)]
struct Samples {
    timings: Vec<Timing>,
    failures: Vec<ClientError>,
}

impl App {
    pub(super) fn bench(&self, bench: &Bench) -> Outcome {
        let request = ChatRequest {
            model: self.model(bench.sampling.model.clone())?,
            max_tokens: Some(bench.sampling.max_tokens.unwrap_or(USUAL_TOKENS)),
            seed: bench.sampling.seed,
            temperature: Some(0.0),
            messages: Vec::new(),
        };
        let run = |limit, bar| Run {
            client: &self.client,
            request: &request,
            prompt: &bench.prompt,
            stream: !bench.no_stream,
            limit,
            next: AtomicU64::new(0),
            bar,
        };
        run(Limit::Requests(bench.warm_up), ProgressBar::hidden()).go(bench.concurrency)?;
        let began = now();
        let (limit, bar, template) = match bench.duration {
            Some(duration) => (
                Limit::Until(began + duration),
                ProgressBar::new_spinner(),
                "{spinner} {pos} answers, {elapsed}",
            ),
            None => {
                let requests = bench.requests.unwrap_or(USUAL_REQUESTS);
                let bar = ProgressBar::new(requests);
                (
                    Limit::Requests(requests),
                    bar,
                    "[{bar:40}] {pos} of {len} answers, {elapsed}",
                )
            }
        };
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let run = run(limit, bar);
        let samples = run.go(bench.concurrency)?;
        let took = began.elapsed();
        run.bar.finish_and_clear();

        let report = Report::new(&samples.timings, &samples.failures, took);
        // Without a single answer there is nothing to report but why.
        if let (0, Some(error)) = (report.answers, samples.failures.into_iter().next()) {
            return Err(error.into());
        }
        if self.output.json {
            let setting = report::setting(bench, &request, self.client.url());
            self.output.json(&report.as_json(&setting))?;
        } else {
            let streamed = if bench.no_stream { "" } else { ", streamed" };
            self.output.line(&format!(
                "{} of {} at {}, {} at a time{streamed}, in {:.2} s",
                count(report.answers, "answer"),
                request.model,
                self.client.url(),
                bench.concurrency,
                took.as_secs_f64(),
            ))?;
            self.output.line("")?;
            self.output.table(&report.table())?;
            self.output.line("")?;
            self.output.line(&report.rates())?;
        }
        if report.failed() == 0 {
            return Ok(());
        }
        for (error, times) in &report.failures {
            note(&format!("llorch: {times} × {error}"));
        }
        Err(Failure::Said(Exit::Failed))
    }
}

impl Run<'_> {
    /// All requests, by so many threads.
    fn go(&self, concurrency: u16) -> Result<Samples, Failure> {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..concurrency)
                .map(|_| thread::Builder::new().spawn_scoped(scope, || self.one_thread()))
                .collect::<Result<_, _>>()?;
            let mut all = Samples::default();
            for thread in threads {
                let samples = thread.join().map_err(|_| {
                    Failure::Told(Exit::Failed, "a thread of the load has panicked".to_owned())
                })?;
                all.timings.extend(samples.timings);
                all.failures.extend(samples.failures);
            }
            Ok(all)
        })
    }

    fn one_thread(&self) -> Samples {
        let mut samples = Samples::default();
        while let Some(number) = self.take() {
            match self.ask(number) {
                Ok(timing) => samples.timings.push(timing),
                Err(error) => {
                    samples.failures.push(error);
                    pause(AFTER_FAILURE);
                }
            }
            self.bar.inc(1);
        }
        samples
    }

    /// The number of the next request; `None` when there is to be none.
    fn take(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let goes_on = match self.limit {
            Limit::Requests(requests) => number < requests,
            Limit::Until(end) => now() < end,
        };
        goes_on.then_some(number)
    }

    fn ask(&self, number: u64) -> Result<Timing, ClientError> {
        let mut request = self.request.clone();
        request.messages.push(Message {
            role: "user",
            content: self.prompt.replace("{i}", &number.to_string()),
        });
        let routing = Routing::default();
        if !self.stream {
            return Ok(self.client.chat_whole(&request, &routing)?.chat.timing);
        }
        let mut stream = self.client.chat(&request, &routing)?;
        while stream.next_piece()?.is_some() {}
        Ok(stream.finish().timing)
    }
}
