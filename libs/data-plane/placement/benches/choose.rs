//! The duration of one choice, for each strategy and for fleets of 10 to 10 000 endpoints.
//!
//! `cargo xtask bench placement`, or `cargo bench -p placement`.

use std::{cell::Cell, fmt, sync::Arc};

use divan::{Bencher, black_box};
use placement::{
    Load, Loads, PlacementQuery, PrefixIndex, Strategy, choose, prompt_blocks, session_key,
};
use routing_table::{Endpoint, EndpointReport, EndpointState, RoutingTable};
use test_fixtures::{MODEL, TestEndpoint};

const FLEETS: [u32; 4] = [10, 100, 1_000, 10_000];
const SLOTS: u32 = 4;
/// A conversation of a few turns, in bytes.
const PROMPT_BYTES: usize = 8 * 1024;

fn main() {
    divan::main();
}

struct Case {
    strategy: Strategy,
    fleet: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.strategy, self.fleet)
    }
}

fn cases() -> Vec<Case> {
    let of_strategy = |strategy| FLEETS.map(|fleet| Case { strategy, fleet });
    Strategy::ALL.into_iter().flat_map(of_strategy).collect()
}

/// One choice for a new conversation. The strategy `prefix` includes the lookup in the index, which
/// is part of its decision.
#[divan::bench(name = "choose", args = cases())]
fn one_choice(bencher: Bencher<'_, '_>, case: &Case) {
    let (mut table, mut loads) = (RoutingTable::default(), Loads::default());
    for n in 0..case.fleet {
        let (endpoint, report) = endpoint(n);
        let index = table.set(&endpoint, report).index;
        loads.set(&table, index, load(n));
    }
    let blocks = prompt_blocks(MODEL, "x".repeat(PROMPT_BYTES).as_bytes());
    let mut index = PrefixIndex::new();
    if let Some(seen) = table.summaries().last() {
        index.record(&blocks, seen.hash);
    }
    let turn = Cell::new(0_u64);
    bencher.bench_local(|| {
        turn.set(turn.get() + 1);
        let prefix = (case.strategy == Strategy::Prefix).then(|| index.find(black_box(&blocks)));
        choose(
            black_box(&table),
            black_box(&loads),
            &PlacementQuery {
                model: MODEL,
                strategy: case.strategy,
                turn: turn.get(),
                session: Some(session_key("a conversation") ^ turn.get()),
                prefix: prefix.as_ref(),
                ..PlacementQuery::default()
            },
        )
    });
}

/// A realistic fleet: different GPUs, most endpoints ready.
fn endpoint(n: u32) -> (Arc<Endpoint>, EndpointReport) {
    let name = format!("node-{n:05}");
    let state = match n % 20 {
        7 => EndpointState::Draining,
        13 => EndpointState::NotReady,
        _ => EndpointState::Ready,
    };
    let endpoint = TestEndpoint {
        state,
        vram_free_bytes: u64::from(n % 24) << 30,
        ..TestEndpoint::of_replica(&name, "r0", SLOTS)
    };
    (endpoint.endpoint(), endpoint.report())
}

/// Every degree of load; a fifth of the endpoints are full.
fn load(n: u32) -> Load {
    Load {
        used: n % (SLOTS + 1),
        conversations: n % 3,
        breaker_open: n % 50 == 49,
    }
}
