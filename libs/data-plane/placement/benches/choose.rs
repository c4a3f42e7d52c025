//! How long one choice takes, for each strategy and for fleets of 10 to 10 000 endpoints.
//!
//! `cargo xtask bench placement`, or `cargo bench -p placement`.

use std::{cell::Cell, fmt};

use divan::{Bencher, black_box};
use placement::{Load, Loads, PrefixIndex, Question, Strategy, choose, prompt_blocks, session_key};
use pool_registry_types::{HttpUrl, NodeId, PoolId};
use routing_table::{Availability, Endpoint, EndpointKey, Hop, RoutingTable};

const FLEETS: [u32; 4] = [10, 100, 1_000, 10_000];
const MODEL: &str = "m";
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

/// One request: for `prefix` with the look in the index, which is part of the decision.
#[divan::bench(name = "choose", args = cases())]
fn one_choice(bencher: Bencher<'_, '_>, case: &Case) {
    let table = RoutingTable::new(1, (0..case.fleet).map(endpoint).collect());
    let loads = Loads::new(&table, (0..case.fleet).map(load));
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
            &Question {
                model: MODEL,
                strategy: case.strategy,
                turn: turn.get(),
                session: Some(session_key("a conversation") ^ turn.get()),
                prefix: prefix.as_ref(),
                ..Question::default()
            },
        )
    });
}

/// A fleet as it is: different cards, most of them ready.
fn endpoint(n: u32) -> Endpoint {
    let name = format!("node-{n:05}");
    let availability = match n % 20 {
        7 => Availability::Draining,
        13 => Availability::NotReady("heartbeat overdue".into()),
        _ => Availability::Ready,
    };
    Endpoint {
        key: EndpointKey {
            node: NodeId::new(&name).unwrap_or_else(|_| unreachable!("{name} is a valid id")),
            pool: PoolId::new("pool-0").unwrap_or_else(|_| unreachable!("a valid id")),
            replica: None,
        },
        incarnation: 1,
        target: HttpUrl::new("http://10.0.0.1:9200").unwrap_or_else(|_| unreachable!("a valid URL")),
        hop: Hop::Node,
        availability,
        slots_total: SLOTS,
        slots_free: SLOTS,
        report: 1,
        vram_free_bytes: u64::from(n % 24) << 30,
        models: Some([MODEL.to_owned()].into()),
        engine: None,
        engine_version: None,
    }
}

/// Busy to every degree, a fifth of them full.
fn load(n: u32) -> Load {
    Load {
        used: n % (SLOTS + 1),
        quarantined: n % 50 == 49,
    }
}
