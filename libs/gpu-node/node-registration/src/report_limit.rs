//! Shortens a heartbeat to the size limit of the control plane. Omits the least needed parts first:
//!
//! 1. the models that replicas have in memory,
//! 2. the models of single replicas, which the pool names as well,
//! 3. error texts, except their beginning,
//! 4. the replicas,
//! 5. the GPUs and the refused handoffs,
//! 6. models of pools: as many as necessary, evenly from all pools.
//!
//! The rest always fits: see the test of the largest report.

use std::io;

use pool_registry_types::{
    ErrorText, HeartbeatRequest, MAX_MODELS, MAX_TEXT_BYTES, ModelName, PoolStatus, lines,
};
use serde::Serialize;

/// The error of a pool that does not report all of its models.
pub(crate) const MODELS_LEFT_OUT: &str =
    "some of its models are not reported, because the node's report would be too large";

/// What was omitted from a heartbeat: this, and everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Omission {
    LoadedModels,
    ReplicaModels,
    ErrorTexts,
    Replicas,
    Gpus,
    PoolModels,
}

impl Omission {
    const IN_ORDER: [Self; 6] = [
        Self::LoadedModels,
        Self::ReplicaModels,
        Self::ErrorTexts,
        Self::Replicas,
        Self::Gpus,
        Self::PoolModels,
    ];

    /// What is missing, for people.
    pub(crate) fn missing(self) -> &'static str {
        match self {
            Self::LoadedModels => "which models are in memory",
            Self::ReplicaModels => "which replica has which models",
            Self::ErrorTexts => "the ends of error texts, and which replica has which models",
            Self::Replicas => "the replicas of pools",
            Self::Gpus => "GPUs, refused handoffs, and the replicas of pools",
            Self::PoolModels => {
                "some models of pools, which get no requests; GPUs, refused handoffs, and the \
                 replicas of pools"
            }
        }
    }
}

/// A heartbeat that was shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShortenedReport {
    /// The last step that was needed.
    pub(crate) omission: Omission,
    /// How many model names are missing in pools.
    pub(crate) models_left_out: usize,
    /// The size of the complete report.
    pub(crate) bytes: usize,
}

/// Shortens `request` to `max_bytes`; returns `None` when it already fits.
pub(crate) fn limit_size(
    request: &mut HeartbeatRequest,
    max_bytes: usize,
) -> Option<ShortenedReport> {
    let bytes = size(request);
    if bytes <= max_bytes {
        return None;
    }
    let mut shortened = ShortenedReport {
        omission: Omission::LoadedModels,
        models_left_out: 0,
        bytes,
    };
    for omission in Omission::IN_ORDER {
        shortened.omission = omission;
        shortened.models_left_out = apply(omission, request, max_bytes);
        if size(request) <= max_bytes {
            break;
        }
    }
    Some(shortened)
}

/// Returns how many model names the pools have lost.
fn apply(omission: Omission, request: &mut HeartbeatRequest, max_bytes: usize) -> usize {
    let pools = &mut request.pools;
    let replicas = pools
        .iter_mut()
        .flat_map(|pool| pool.replicas.iter_mut().flatten());
    match omission {
        Omission::LoadedModels => replicas.for_each(|replica| replica.load.models_loaded = None),
        Omission::ReplicaModels => replicas.for_each(|replica| replica.models = None),
        Omission::ErrorTexts => {
            replicas.for_each(|replica| begin(&mut replica.last_error));
            pools
                .iter_mut()
                .for_each(|pool| begin(&mut pool.last_error));
            request
                .gpus
                .iter_mut()
                .flatten()
                .for_each(|gpu| begin(&mut gpu.problem));
        }
        Omission::Replicas => pools.iter_mut().for_each(|pool| pool.replicas = None),
        Omission::Gpus => {
            request.gpus = None;
            request.refused_handoffs.clear();
        }
        Omission::PoolModels => return cut_models(request, max_bytes),
    }
    0
}

fn begin(text: &mut Option<ErrorText>) {
    if let Some(text) = text {
        *text = ErrorText::cut(&lines(text, MAX_TEXT_BYTES));
    }
}

/// Keeps the first name of each pool, then the second of each, and so on, while they fit.
fn cut_models(request: &mut HeartbeatRequest, max_bytes: usize) -> usize {
    let names: Vec<Vec<ModelName>> = request.pools.iter_mut().map(take_models).collect();
    let mut room = max_bytes.saturating_sub(size(request));
    let mut kept = vec![0; names.len()];
    'rounds: for round in 0..MAX_MODELS {
        for (names, kept) in names.iter().zip(&mut kept) {
            let Some(name) = names.get(round) else {
                continue;
            };
            // With a comma.
            let needed = size(name) + 1;
            if needed > room {
                break 'rounds;
            }
            room -= needed;
            *kept += 1;
        }
    }
    let mut left_out = 0;
    for ((pool, mut names), kept) in request.pools.iter_mut().zip(names).zip(kept) {
        let missing = names.len() - kept;
        names.truncate(kept);
        if let Some(models) = &mut pool.models_available {
            *models = names;
        }
        if missing == 0 && pool.last_error.as_deref() == Some(MODELS_LEFT_OUT) {
            pool.last_error = None;
        }
        left_out += missing;
    }
    left_out
}

/// Empties the list, and reserves space for the error about missing models.
fn take_models(pool: &mut PoolStatus) -> Vec<ModelName> {
    let names = pool
        .models_available
        .as_mut()
        .map(std::mem::take)
        .unwrap_or_default();
    if !names.is_empty() {
        pool.last_error
            .get_or_insert_with(|| ErrorText::cut(MODELS_LEFT_OUT));
    }
    names
}

/// How many bytes of JSON `value` takes.
fn size(value: &(impl Serialize + ?Sized)) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // An error is reported when the request is sent.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use pool_registry_types::{
        GpuStatus, MAX_GPUS, MAX_ID_BYTES, MAX_MODEL_NAME_BYTES, MAX_NODE_BODY_BYTES, MAX_POOLS,
        ReplicaStatus, Slots, Text, limits::MAX_ERROR_BYTES,
    };

    use super::*;
    use crate::machine::BRIEF_REPORT_BYTES;

    fn text() -> Text {
        long(MAX_TEXT_BYTES).parse().unwrap()
    }

    /// Quotation marks give the longest JSON per byte of a clean text.
    fn long(bytes: usize) -> String {
        "\"".repeat(bytes)
    }

    /// The longest error. The part that is cut off is plain, to keep the test short.
    fn error() -> ErrorText {
        ErrorText::cut(&format!(
            "{}{}",
            long(MAX_TEXT_BYTES),
            "x".repeat(MAX_ERROR_BYTES - MAX_TEXT_BYTES)
        ))
    }

    fn id(i: usize) -> String {
        format!("{}{i:08}", "i".repeat(MAX_ID_BYTES - 8))
    }

    fn names(pool: usize, count: usize) -> Vec<ModelName> {
        let name = |i| format!("{pool:08}-{i:08}{}", "\"".repeat(MAX_MODEL_NAME_BYTES - 17));
        (0..count).map(|i| name(i).parse().unwrap()).collect()
    }

    fn pool(i: usize, replicas: usize, models: usize) -> PoolStatus {
        let replica = |r| {
            let mut replica = ReplicaStatus::new(id(r).parse().unwrap())
                .with_slots(Slots::clamped(u32::MAX, u32::MAX));
            replica.slots_promised = Some(u32::MAX);
            replica.models = Some(names(i, models));
            replica.last_error = Some(error());
            replica.draining = true;
            replica.load.running = Some(u32::MAX);
            replica.load.waiting = Some(u32::MAX);
            replica.load.sleeping = Some(false);
            replica.load.models_loaded = Some(names(i, models));
            replica
        };
        let mut status =
            PoolStatus::new(id(i).parse().unwrap()).with_slots(Slots::clamped(u32::MAX, u32::MAX));
        status.vram_free_bytes = u64::MAX;
        status.engine = Some(id(i).parse().unwrap());
        status.engine_version = Some(text());
        status.models_available = Some(names(i, models));
        status.replicas = Some((0..replicas).map(replica).collect());
        status.last_error = Some(error());
        status.device_mask = Some(text());
        status.sleeping = true;
        status
    }

    fn report(pools: Vec<PoolStatus>) -> HeartbeatRequest {
        let gpu = |device_id| {
            let mut gpu = GpuStatus::new(device_id, text());
            gpu.uuid = Some(text());
            gpu.driver_version = Some(text());
            gpu.compute_capability = Some(text());
            gpu.vram_total_bytes = Some(u64::MAX);
            gpu.vram_used_bytes = Some(u64::MAX);
            gpu.vram_free_bytes = Some(u64::MAX);
            gpu.utilization_percent = Some(u32::MAX);
            gpu.temperature_celsius = Some(u32::MAX);
            gpu.power_watts = Some(u32::MAX);
            gpu.problem = Some(error());
            gpu
        };
        let mut heartbeat = HeartbeatRequest::new(text(), pools);
        heartbeat.incarnation = Some(u64::MAX);
        heartbeat.seq = Some(u64::MAX);
        heartbeat.gpus = Some((0..u32::try_from(MAX_GPUS).unwrap()).map(gpu).collect());
        heartbeat
    }

    // spec: REG-12
    #[test]
    fn the_largest_report_fits_the_smallest_body() {
        // More replicas, or more models of each, would only be omitted sooner.
        let mut request = report((0..MAX_POOLS).map(|i| pool(i, 1, 8)).collect());
        for max_bytes in [MAX_NODE_BODY_BYTES, BRIEF_REPORT_BYTES] {
            let shortened = limit_size(&mut request, max_bytes).unwrap();
            assert!(size(&request) <= max_bytes, "{shortened:?}");
            request.bound();
            assert!(size(&request) <= max_bytes);
        }
        assert_eq!(request.pools.len(), MAX_POOLS, "no pool is omitted");
        let one_each = |pool: &PoolStatus| {
            pool.models_available
                .as_ref()
                .is_some_and(|models| !models.is_empty())
        };
        assert!(
            request.pools.iter().all(one_each),
            "and every pool keeps a model"
        );
    }

    // spec: REG-12
    #[test]
    fn the_least_needed_parts_are_omitted_first() {
        let mut whole = report(vec![pool(0, 2, 10), pool(1, 1, 5)]);
        whole.gpus.as_mut().unwrap().truncate(2);
        let mut seen = Vec::new();
        let mut max_bytes = size(&whole);
        // Reduce the limit until only the needed parts are left.
        while max_bytes > 6 * 1024 {
            let mut request = whole.clone();
            let shortened = limit_size(&mut request, max_bytes);
            assert!(size(&request) <= max_bytes, "{max_bytes}: {shortened:?}");
            let omission = shortened.map(|shortened| shortened.omission);
            let names = |pool: &PoolStatus| pool.models_available.as_ref().map_or(0, Vec::len);
            let left_out = 15 - request.pools.iter().map(names).sum::<usize>();
            assert_eq!(
                shortened.map_or(0, |shortened| shortened.models_left_out),
                left_out
            );
            assert_eq!(left_out > 0, omission == Some(Omission::PoolModels));
            let gone = |cut_here| omission >= Some(cut_here);
            let replica = request.pools[0]
                .replicas
                .as_ref()
                .map(|replicas| &replicas[0]);
            assert_eq!(replica.is_none(), gone(Omission::Replicas));
            if let Some(replica) = replica {
                assert_eq!(
                    replica.load.models_loaded.is_none(),
                    gone(Omission::LoadedModels)
                );
                assert_eq!(replica.models.is_none(), gone(Omission::ReplicaModels));
                let text = replica.last_error.as_ref().unwrap();
                assert_eq!(text.len() == MAX_TEXT_BYTES, gone(Omission::ErrorTexts));
            }
            assert_eq!(request.gpus.is_none(), gone(Omission::Gpus));
            seen.push(omission);
            max_bytes -= 512;
        }
        seen.dedup();
        let expected: Vec<_> = std::iter::once(None)
            .chain(Omission::IN_ORDER.into_iter().map(Some))
            .collect();
        assert_eq!(seen, expected);
    }

    // spec: REG-12
    #[test]
    fn a_pool_that_lost_models_reports_it_and_the_others_do_not() {
        let mut few = pool(0, 0, 2);
        let mut many = pool(1, 0, MAX_MODELS);
        (few.last_error, many.last_error) = (None, None);
        let mut request = report(vec![few, many]);
        let shortened = limit_size(&mut request, 64 * 1024).unwrap();
        assert!(size(&request) <= 64 * 1024);
        let errors: Vec<_> = request
            .pools
            .iter()
            .map(|pool| pool.last_error.as_deref())
            .collect();
        assert_eq!(errors, [None, Some(MODELS_LEFT_OUT)]);
        let kept: Vec<_> = request
            .pools
            .iter()
            .map(|pool| pool.models_available.as_ref().unwrap().len())
            .collect();
        assert_eq!(kept[0], 2, "a small pool keeps its models");
        assert_eq!(kept[1] + shortened.models_left_out, MAX_MODELS);
        assert!(kept[1] > 50, "{kept:?}");
    }
}
