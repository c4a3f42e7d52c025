//! What placement reads of an endpoint when its load changes, small and side by side: no name, URL or string is
//! touched for it.

use xxhash_rust::xxh3::xxh3_64;

use crate::{Availability, Endpoint, EndpointKey};

/// The step in which free VRAM is compared. Two equal GPUs never have the same number of free bytes; counting
/// bytes would send everything to one of them until it is full.
const VRAM_STEP_BYTES: u64 = 1 << 30;

/// Whether an endpoint may be given a request, without the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes requests.
    Ready,
    /// It takes requests, after it has started its engine.
    Asleep,
    /// It takes no new ones.
    Draining,
    /// It cannot serve now.
    NotReady,
}

/// The part of an [`Endpoint`] that decides where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// A hash of its key that is the same in every process, for affinity.
    pub hash: u64,
    /// How many requests it serves at once.
    pub slots_total: u32,
    /// Its free VRAM in whole GiB.
    pub vram_gib: u32,
    /// Whether it takes requests.
    pub state: State,
}

impl Summary {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self {
            hash: hash(&endpoint.key),
            slots_total: endpoint.slots_total,
            vram_gib: u32::try_from(endpoint.vram_free_bytes / VRAM_STEP_BYTES).unwrap_or(u32::MAX),
            state: match endpoint.availability {
                Availability::Ready => State::Ready,
                Availability::Asleep => State::Asleep,
                Availability::Draining => State::Draining,
                Availability::NotReady(_) => State::NotReady,
            },
        }
    }
}

fn hash(key: &EndpointKey) -> u64 {
    xxh3_64(key.to_string().as_bytes())
}
