//! The part of an endpoint that changes with every report. The values are small and contiguous; an
//! update touches no name, URL or string.

/// Free VRAM is compared in steps of this size. Two equal GPUs never have exactly the same number
/// of free bytes; comparing bytes would send every request to one of them until it is full.
const VRAM_STEP_BYTES: u64 = 1 << 30;

/// Whether an endpoint accepts requests, as far as the control plane knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It accepts requests.
    Ready,
    /// It accepts requests, and starts its engine first.
    ScaledToZero,
    /// It accepts no new requests; running ones finish.
    Draining,
    /// It cannot serve now.
    NotReady,
}

impl EndpointState {
    /// Whether it accepts requests.
    #[must_use]
    pub fn is_routable(self) -> bool {
        matches!(self, Self::Ready | Self::ScaledToZero)
    }
}

/// A node's last report of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointReport {
    /// Increases with each report, so that a new report with equal values is noticed.
    pub number: u64,
    /// Whether it accepts requests.
    pub state: EndpointState,
    /// The number of requests it serves concurrently.
    pub slots_total: u32,
    /// The number of free slots at the time of the report.
    pub slots_free: u32,
    /// Free memory of its devices in bytes; 0 when unknown.
    pub vram_free_bytes: u64,
}

/// The part of an endpoint that placement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointSummary {
    /// [`Endpoint::hash`](crate::Endpoint::hash).
    pub hash: u64,
    /// The number of requests it serves concurrently.
    pub slots_total: u32,
    /// Its free VRAM in whole GiB.
    pub vram_gib: u32,
    /// Whether it accepts requests.
    pub state: EndpointState,
}

impl EndpointSummary {
    /// Summarizes the endpoint with that hash and report.
    #[must_use]
    pub fn new(hash: u64, report: &EndpointReport) -> Self {
        Self {
            hash,
            slots_total: report.slots_total,
            vram_gib: u32::try_from(report.vram_free_bytes / VRAM_STEP_BYTES).unwrap_or(u32::MAX),
            state: report.state,
        }
    }
}
