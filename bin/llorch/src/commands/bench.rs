//! `bench`: a closed-loop load on any OpenAI-compatible server, with percentiles.

mod report;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use llorch_client::{ChatRequest, ChatTiming, Client, ClientError, Message, RoutingOptions};

use self::report::BenchReport;
use super::App;
use crate::{
    args::Bench,
    clock::{now, pause},
    exit::{Exit, Failure, Outcome},
    output::{count, note},
};

/// The number of requests without `--requests` and `--duration`.
const DEFAULT_REQUESTS: u64 = 100;
/// The maximum length of an answer without `--max-tokens`: enough tokens to measure the pace.
const DEFAULT_TOKENS: u32 = 64;
/// The pause of a thread after a failed request, so that failures do not become a load of their
/// own.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// The end of a run.
#[derive(Debug, Clone, Copy)]
enum RunLimit {
    Requests(u64),
    Until(Instant),
}

/// The shared state of the threads of a run.
struct LoadRun<'a> {
    client: &'a Client,
    request: &'a ChatRequest,
    prompt: &'a str,
    stream: bool,
    limit: RunLimit,
    next: AtomicU64,
    bar: ProgressBar,
}

/// The results of all requests.
#[derive(Default)]
struct Samples {
    timings: Vec<ChatTiming>,
    failures: Vec<ClientError>,
}

impl App {
    pub(super) fn bench(&self, bench: &Bench) -> Outcome {
        let mut request = ChatRequest::new(self.model(bench.sampling.model.clone())?, Vec::new());
        request.max_tokens = Some(bench.sampling.max_tokens.unwrap_or(DEFAULT_TOKENS));
        request.seed = bench.sampling.seed;
        request.temperature = Some(0.0);
        let run = |limit, bar| LoadRun {
            client: &self.client,
            request: &request,
            prompt: &bench.prompt,
            stream: !bench.no_stream,
            limit,
            next: AtomicU64::new(0),
            bar,
        };
        run(RunLimit::Requests(bench.warm_up), ProgressBar::hidden()).execute(bench.concurrency)?;
        let began = now();
        let (limit, bar, template) = match bench.duration {
            Some(duration) => (
                RunLimit::Until(began + duration),
                ProgressBar::new_spinner(),
                "{spinner} {pos} answers, {elapsed}",
            ),
            None => {
                let requests = bench.requests.unwrap_or(DEFAULT_REQUESTS);
                let bar = ProgressBar::new(requests);
                (
                    RunLimit::Requests(requests),
                    bar,
                    "[{bar:40}] {pos} of {len} answers, {elapsed}",
                )
            }
        };
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let run = run(limit, bar);
        let samples = run.execute(bench.concurrency)?;
        let took = began.elapsed();
        run.bar.finish_and_clear();

        let report = BenchReport::new(&samples.timings, &samples.failures, took);
        // Without any answer, report the first error only.
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
        Err(Failure::Reported(Exit::Failed))
    }
}

impl LoadRun<'_> {
    /// Sends all requests with this number of threads.
    fn execute(&self, concurrency: u16) -> Result<Samples, Failure> {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..concurrency)
                .map(|_| thread::Builder::new().spawn_scoped(scope, || self.run_thread()))
                .collect::<Result<_, _>>()?;
            let mut all = Samples::default();
            for thread in threads {
                let samples = thread.join().map_err(|_| {
                    Failure::Message(Exit::Failed, "a thread of the load has panicked".to_owned())
                })?;
                all.timings.extend(samples.timings);
                all.failures.extend(samples.failures);
            }
            Ok(all)
        })
    }

    fn run_thread(&self) -> Samples {
        let mut samples = Samples::default();
        while let Some(number) = self.next_number() {
            match self.send(number) {
                Ok(timing) => samples.timings.push(timing),
                Err(error) => {
                    samples.failures.push(error);
                    pause(PAUSE_AFTER_FAILURE);
                }
            }
            self.bar.inc(1);
        }
        samples
    }

    /// The number of the next request; `None` at the end of the run.
    fn next_number(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let continues = match self.limit {
            RunLimit::Requests(requests) => number < requests,
            RunLimit::Until(end) => now() < end,
        };
        continues.then_some(number)
    }

    fn send(&self, number: u64) -> Result<ChatTiming, ClientError> {
        let mut request = self.request.clone();
        let prompt = self.prompt.replace("{i}", &number.to_string());
        request.messages.push(Message::user(prompt));
        let routing = RoutingOptions::default();
        if !self.stream {
            return Ok(self
                .client
                .complete_chat(&request, &routing)?
                .summary
                .timing);
        }
        let mut stream = self.client.chat(&request, &routing)?;
        while stream.next_delta()?.is_some() {}
        Ok(stream.finish().timing)
    }
}
