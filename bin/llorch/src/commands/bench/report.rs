//! The report of a load: percentiles and rates.

use std::{collections::BTreeMap, time::Duration};

use llorch_client::{ChatRequest, ChatTiming, ClientError};
use serde_json::{Value, json};

use crate::{
    args::Bench,
    output::{Cell, Table, millis},
};

/// Percentiles of one kind of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

/// The measurements of a load.
#[derive(Debug)]
pub(super) struct BenchReport {
    pub(super) answers: u64,
    /// Each kind of failure with its count.
    pub(super) failures: BTreeMap<String, u64>,
    seconds: f64,
    tokens: u64,
    first: Option<Percentiles>,
    between: Option<Percentiles>,
    whole: Option<Percentiles>,
}

impl BenchReport {
    pub(super) fn new(timings: &[ChatTiming], errors: &[ClientError], took: Duration) -> Self {
        let mut failures = BTreeMap::new();
        for error in errors {
            *failures.entry(kind(error)).or_default() += 1;
        }
        Self {
            answers: timings.len() as u64,
            failures,
            seconds: took.as_secs_f64(),
            // The engine chooses the numbers, so the sum must not overflow.
            tokens: timings
                .iter()
                .map(ChatTiming::tokens)
                .fold(0, u64::saturating_add),
            first: percentiles_of(timings.iter().filter_map(|timing| timing.first)),
            between: percentiles_of(
                timings
                    .iter()
                    .flat_map(|timing| timing.gaps.iter().copied()),
            ),
            whole: percentiles_of(timings.iter().map(|timing| timing.total)),
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The percentiles of each kind of time.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["TIME", "P50", "P90", "P99", "MAX"]);
        for (what, percentiles) in self.percentiles() {
            if let Some(Percentiles { p50, p90, p99, max }) = percentiles {
                let cells = [p50, p90, p99, max].map(|ms| Cell::number(millis(ms)));
                table.row([Cell::new(what)].into_iter().chain(cells));
            }
        }
        table
    }

    pub(super) fn rates(&self) -> String {
        format!(
            "{:.1} answers/s, {:.1} tokens/s, {:.1} tokens per answer",
            self.per_second(self.answers),
            self.per_second(self.tokens),
            self.tokens as f64 / self.answers.max(1) as f64,
        )
    }

    pub(super) fn as_json(&self, setting: &Value) -> Value {
        let percentiles = self.percentiles().map(|(what, percentiles)| {
            let percentiles = percentiles.map(|Percentiles { p50, p90, p99, max }| {
                json!({"p50": p50, "p90": p90, "p99": p99, "max": max})
            });
            (format!("{}_ms", what.replace(' ', "_")), json!(percentiles))
        });
        let mut report = json!({
            "setting": setting,
            "answers": self.answers,
            "failed": self.failed(),
            "failures": self.failures,
            "seconds": self.seconds,
            "answers_per_s": self.per_second(self.answers),
            "tokens_per_s": self.per_second(self.tokens),
            "tokens": self.tokens,
        });
        for (name, percentiles) in percentiles {
            report[name] = percentiles;
        }
        report
    }

    fn percentiles(&self) -> [(&'static str, Option<Percentiles>); 3] {
        [
            ("first token", self.first),
            ("between tokens", self.between),
            ("whole answer", self.whole),
        ]
    }

    fn per_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 {
            count as f64 / self.seconds
        } else {
            0.0
        }
    }
}

/// The settings of the load, so that the report can be read alone.
pub(super) fn setting(bench: &Bench, request: &ChatRequest, url: &str) -> Value {
    json!({
        "url": url,
        "model": request.model,
        "concurrency": bench.concurrency,
        "stream": !bench.no_stream,
        "max_tokens": request.max_tokens,
    })
}

/// The kind of a failure, without details such as the node or the time.
fn kind(error: &ClientError) -> String {
    match error {
        ClientError::Refused { code, status, .. } if code.is_empty() => format!("status {status}"),
        ClientError::Refused { code, .. } => code.clone(),
        error => error.to_string(),
    }
}

/// Percentiles by the nearest rank; `None` without a sample.
fn percentiles_of(times: impl Iterator<Item = Duration>) -> Option<Percentiles> {
    let mut ms: Vec<f64> = times.map(|time| time.as_secs_f64() * 1000.0).collect();
    ms.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| {
        let rank = (ms.len() * percent).div_ceil(100);
        ms.get(rank.saturating_sub(1)).copied()
    };
    Some(Percentiles {
        p50: at(50)?,
        p90: at(90)?,
        p99: at(99)?,
        max: at(100)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(first: u64, gaps: &[u64], tokens: u64) -> ChatTiming {
        let mut timing = ChatTiming::default();
        timing.first = Some(Duration::from_millis(first));
        timing.gaps = gaps.iter().copied().map(Duration::from_millis).collect();
        timing.total = Duration::from_millis(first + gaps.iter().sum::<u64>());
        timing.deltas = tokens;
        timing
    }

    // spec: PATH-39
    #[test]
    fn counts_without_measure_are_added_without_harm() {
        let mut timing = ChatTiming::default();
        timing.usage_tokens = Some(u64::MAX);
        let report = BenchReport::new(&[timing.clone(), timing], &[], Duration::from_secs(1));
        assert_eq!(report.tokens, u64::MAX);
    }

    // spec: CLI-9
    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let hundred = percentiles_of((1..=100).map(Duration::from_millis)).unwrap();
        assert_eq!(
            (hundred.p50, hundred.p90, hundred.p99, hundred.max),
            (50.0, 90.0, 99.0, 100.0)
        );
        let one = percentiles_of([Duration::from_millis(7)].into_iter()).unwrap();
        assert_eq!((one.p50, one.max), (7.0, 7.0));
        assert_eq!(percentiles_of(std::iter::empty()), None);
    }

    // spec: CLI-9
    #[test]
    fn a_report_counts_answers_tokens_and_failures() {
        let busy = |message: &str| ClientError::Refused {
            status: 429,
            code: "QUEUE_FULL".to_owned(),
            message: message.to_owned(),
            retry_after: None,
        };
        let timings = [timing(10, &[2, 4], 3), timing(30, &[6], 2)];
        let report = BenchReport::new(&timings, &[busy("a"), busy("b")], Duration::from_secs(2));
        assert_eq!(
            report.table().lines(None, false),
            [
                "TIME               P50     P90     P99     MAX",
                "first token      10 ms   30 ms   30 ms   30 ms",
                "between tokens  4.0 ms  6.0 ms  6.0 ms  6.0 ms",
                "whole answer     16 ms   36 ms   36 ms   36 ms",
            ]
            .map(|line| line.to_owned())
        );
        assert_eq!(
            report.rates(),
            "1.0 answers/s, 2.5 tokens/s, 2.5 tokens per answer"
        );
        let json = report.as_json(&Value::Null);
        assert_eq!(
            (&json["failed"], &json["failures"]["QUEUE_FULL"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(json["first_token_ms"]["p50"], 10.0);
        // Whole answers have no first token.
        let mut whole = ChatTiming::default();
        whole.total = Duration::from_millis(5);
        assert_eq!(
            BenchReport::new(&[whole], &[], Duration::ZERO).as_json(&Value::Null)["first_token_ms"],
            Value::Null
        );
    }
}
