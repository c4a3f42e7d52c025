//! The cost of one endpoint's report, and of a request meanwhile, in fleets of different sizes:
//! `cargo bench -p admission`.

use std::{cell::Cell, sync::Arc};

use admission::{
    AcquireRequest, Admission, AdmissionConfig, LeaseOutcome, Priority, RoutingPreference,
};
use divan::{Bencher, black_box};
use placement::Strategy;
use routing_table::{Endpoint, EndpointReport, EndpointState, RouteChange, RouteSink as _};
use test_fixtures::TestEndpoint;

const FLEETS: [u64; 3] = [1_000, 10_000, 100_000];
const SLOTS: u32 = 4;

fn main() {
    divan::main();
}

fn endpoint(n: u64) -> Arc<Endpoint> {
    let endpoint = TestEndpoint {
        generation: 1,
        ..TestEndpoint::of_replica(&format!("node-{n:06}"), "r0", SLOTS)
    };
    endpoint.endpoint()
}

fn report(number: u64, slots_free: u32) -> EndpointReport {
    EndpointReport {
        number,
        state: EndpointState::Ready,
        slots_total: SLOTS,
        slots_free,
        vram_free_bytes: 0,
    }
}

fn fleet(size: u64) -> (Admission, Vec<Arc<Endpoint>>) {
    let admission = Admission::new(AdmissionConfig::default());
    let endpoints: Vec<_> = (0..size).map(endpoint).collect();
    for endpoint in &endpoints {
        admission.apply(&[RouteChange::Set(Arc::clone(endpoint), report(1, SLOTS))]);
    }
    (admission, endpoints)
}

/// One report with other free slots, as in a heartbeat.
#[divan::bench(args = FLEETS)]
fn one_report(bencher: Bencher<'_, '_>, size: u64) {
    let (admission, endpoints) = fleet(size);
    let turn = Cell::new(1_u64);
    bencher.bench_local(|| {
        turn.set(turn.get() + 1);
        let number = turn.get();
        let index = usize::try_from(number % size).unwrap_or_default();
        let free = u32::try_from(number / size % 2).map_or(0, |odd| SLOTS - odd);
        if let Some(endpoint) = endpoints.get(index) {
            let change = RouteChange::Set(Arc::clone(endpoint), report(number, free));
            admission.apply(black_box(&[change]));
        }
    });
}

/// A new node that is removed again.
#[divan::bench(args = FLEETS)]
fn one_node(bencher: Bencher<'_, '_>, size: u64) {
    let (admission, _) = fleet(size);
    let new = endpoint(size / 2 + 500_000);
    bencher.bench_local(|| {
        let set = RouteChange::Set(Arc::clone(&new), report(1, SLOTS));
        admission.apply(black_box(&[set, RouteChange::Remove(Arc::clone(&new))]));
    });
}

/// One round-robin request from its arrival to its end, after every endpoint has reported load of
/// others.
#[divan::bench(args = FLEETS)]
fn one_request(bencher: Bencher<'_, '_>, size: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else { return };
    let _inside = runtime.enter();
    let (admission, endpoints) = fleet(size);
    for (endpoint, number) in endpoints.iter().zip(2..) {
        admission.apply(&[RouteChange::Set(
            Arc::clone(endpoint),
            report(number, SLOTS - 1),
        )]);
    }
    let preference = Arc::new(RoutingPreference {
        strategy: Strategy::RoundRobin,
        ..RoutingPreference::default()
    });
    bencher.bench_local(|| {
        let request = AcquireRequest {
            model: "m",
            priority: Priority::Interactive,
            preference: &preference,
            tried: &[],
            ticket: None,
            flow: admission::Flow::default(),
        };
        let lease = runtime.block_on(admission.acquire(request, None));
        if let Ok(lease) = lease {
            lease.ended(LeaseOutcome::Served);
        }
    });
}
