//! Generates the steps of a random history.

use std::time::Duration;

use proptest::{
    prelude::{Just, any, prop, prop_oneof},
    sample::Index,
    strategy::Strategy,
};

use super::super::super::grant::RequestEnd;
use crate::circuit_breaker::EndpointFailure;

/// The number of replicas, two on each node.
pub(super) const REPLICAS: u8 = 6;
pub(super) const PER_NODE: u8 = 2;
/// The number of conversations, by session and by prompt.
const CONVERSATIONS: u8 = 4;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Acquire {
        model: bool,
        batch: bool,
        pin: Option<u8>,
        affinity: Option<(bool, u8)>,
        /// 0 for a request without a key.
        key: u8,
    },
    /// A failed request is retried.
    Retry(Index),
    Leave(Index),
    TimeOut(Index),
    /// The response begins, maybe on another replica, which may be unknown.
    ResponseStarted(Index, Option<u8>),
    Release(Index, RequestEnd),
    Change(Replica),
    Remove(u8),
    Table(Vec<Replica>),
    Pass(u64),
    Tick,
    EstimateWait(bool),
}

/// A replica in a change of the control plane.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) number: u8,
    pub(super) slots: u32,
    pub(super) free: u32,
    pub(super) model: Option<bool>,
    pub(super) drains: bool,
    pub(super) is_new_incarnation: bool,
    pub(super) is_new_generation: bool,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let acquire = (
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.2, 0..REPLICAS / PER_NODE),
        prop::option::of((any::<bool>(), 0..CONVERSATIONS)),
        0..3_u8,
    );
    let elsewhere = prop::option::weighted(0.3, 0..=PER_NODE);
    let step = prop_oneof![
        8 => acquire.prop_map(|(model, batch, pin, affinity, key)| {
            Step::Acquire { model, batch, pin, affinity, key }
        }),
        2 => any::<Index>().prop_map(Step::Retry),
        1 => any::<Index>().prop_map(Step::Leave),
        1 => any::<Index>().prop_map(Step::TimeOut),
        3 => (any::<Index>(), elsewhere)
            .prop_map(|(index, replica)| Step::ResponseStarted(index, replica)),
        6 => (any::<Index>(), ending()).prop_map(|(index, ending)| Step::Release(index, ending)),
        2 => replica().prop_map(Step::Change),
        1 => (0..REPLICAS).prop_map(Step::Remove),
        1 => prop::collection::vec(replica(), 0..6).prop_map(Step::Table),
        4 => (1..2000_u64).prop_map(Step::Pass),
        1 => Just(Step::Pass(61_000)),
        3 => Just(Step::Tick),
        1 => any::<bool>().prop_map(Step::EstimateWait),
    ];
    prop::collection::vec(step, 1..120)
}

fn replica() -> impl Strategy<Value = Replica> {
    let model = prop::option::weighted(0.9, any::<bool>());
    let rarely = || prop::bool::weighted(0.2);
    let all = (
        0..REPLICAS,
        0..4_u32,
        0..4_u32,
        model,
        any::<bool>(),
        rarely(),
        rarely(),
    );
    all.prop_map(
        |(number, slots, free, model, drains, is_new_incarnation, is_new_generation)| Replica {
            number,
            slots,
            free: free.min(slots),
            model,
            drains,
            is_new_incarnation,
            is_new_generation,
        },
    )
}

fn ending() -> impl Strategy<Value = RequestEnd> {
    let pause = prop::option::of((0..90_000_u64).prop_map(Duration::from_millis));
    prop_oneof![
        3 => Just(RequestEnd::Served),
        1 => pause.clone().prop_map(|pause| RequestEnd::Refused { pause }),
        1 => pause.prop_map(|pause| RequestEnd::PoolRefused { pause }),
        1 => Just(RequestEnd::Abandoned),
        1 => Just(RequestEnd::Failed(EndpointFailure::Broken)),
        1 => Just(RequestEnd::Failed(EndpointFailure::Unreachable)),
    ]
}
