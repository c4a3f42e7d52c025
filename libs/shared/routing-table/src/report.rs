//! What may change of an endpoint with every report, small and side by side: no name, URL or string
//! is touched for it.

/// The step in which free VRAM is compared. Two equal GPUs never have the same number of free
/// bytes; counting bytes would send everything to one of them until it is full.
const VRAM_STEP_BYTES: u64 = 1 << 30;

/// Whether an endpoint may be given a request, as far as the control plane knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes requests.
    Ready,
    /// It takes requests, after it has started its engine.
    Asleep,
    /// It takes no new ones; running ones finish.
    Draining,
    /// It cannot serve now.
    NotReady,
}

impl State {
    /// Whether it may be given a request.
    #[must_use]
    pub fn is_routable(self) -> bool {
        matches!(self, Self::Ready | Self::Asleep)
    }
}

/// What a node last reported of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Rises with each report, so that a reader notices a new one with the same numbers.
    pub number: u64,
    /// Whether it takes requests.
    pub state: State,
    /// How many requests it serves at once.
    pub slots_total: u32,
    /// How many more it could take when it reported.
    pub slots_free: u32,
    /// Free memory of its devices in bytes; 0 when unknown.
    pub vram_free_bytes: u64,
}

/// The part of an endpoint that decides where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// [`Endpoint::hash`](crate::Endpoint::hash).
    pub hash: u64,
    /// How many requests it serves at once.
    pub slots_total: u32,
    /// Its free VRAM in whole GiB.
    pub vram_gib: u32,
    /// Whether it takes requests.
    pub state: State,
}

impl Summary {
    /// Of an endpoint with that hash and report.
    #[must_use]
    pub fn new(hash: u64, report: &Report) -> Self {
        Self {
            hash,
            slots_total: report.slots_total,
            vram_gib: u32::try_from(report.vram_free_bytes / VRAM_STEP_BYTES).unwrap_or(u32::MAX),
            state: report.state,
        }
    }
}
