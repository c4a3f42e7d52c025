//! Whether the VRAM suffices for one more engine, with those that are still loading.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use thiserror::Error;

/// Returns the free memory in bytes of the devices that a mask names; `None` when it is not known.
/// May block for seconds.
pub type FreeVram = dyn Fn(Option<&str>) -> Option<u64> + Send + Sync;

/// There is too little free memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{needed} bytes of VRAM are needed and {free} bytes are free")]
pub(crate) struct InsufficientVram {
    pub(crate) needed: u64,
    pub(crate) free: u64,
}

/// The free memory, and reservations of engines that are loading.
#[derive(Clone)]
pub(crate) struct VramLedger {
    free: Arc<FreeVram>,
    reserved: Arc<Mutex<Reservations>>,
}

#[derive(Default)]
struct Reservations {
    next: u64,
    /// The mask and size of each reservation, by its id.
    open: BTreeMap<u64, (Option<String>, u64)>,
}

impl VramLedger {
    pub(crate) fn new(free: Arc<FreeVram>) -> Self {
        Self {
            free,
            reserved: Arc::default(),
        }
    }

    /// Reserves `needed` bytes of the devices of `mask` until the reservation is dropped.
    pub(crate) fn reserve(
        &self,
        mask: Option<&str>,
        needed: u64,
    ) -> Result<VramReservation, InsufficientVram> {
        let known = if needed == 0 { None } else { (self.free)(mask) };
        let mut reserved = self.reserved.lock();
        if let Some(free) = known {
            let free = free.saturating_sub(reserved.of(mask));
            if needed > free {
                return Err(InsufficientVram { needed, free });
            }
        }
        reserved.next += 1;
        let id = reserved.next;
        reserved.open.insert(id, (mask.map(str::to_owned), needed));
        Ok(VramReservation {
            id,
            reserved: self.reserved.clone(),
        })
    }
}

impl Reservations {
    /// The reserved bytes of the devices of `mask`. Masks with different text count as different
    /// devices, unless one of them names all.
    fn of(&self, mask: Option<&str>) -> u64 {
        let overlaps =
            |other: &Option<String>| mask.is_none() || other.is_none() || other.as_deref() == mask;
        let those = self.open.values().filter(|(other, _)| overlaps(other));
        those.fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
    }
}

impl fmt::Debug for VramLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VramLedger").finish_non_exhaustive()
    }
}

/// Memory for an engine that is loading. Drop it when the engine has loaded: then the driver counts
/// the memory.
pub(crate) struct VramReservation {
    id: u64,
    reserved: Arc<Mutex<Reservations>>,
}

impl Drop for VramReservation {
    fn drop(&mut self) {
        self.reserved.lock().open.remove(&self.id);
    }
}

impl fmt::Debug for VramReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VramReservation").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROV-8
    #[test]
    fn reserved_memory_is_not_free() {
        let vram = VramLedger::new(Arc::new(|mask| match mask {
            Some("GPU0") => Some(100),
            Some("GPU1") => None,
            _ => Some(150),
        }));
        let first = vram.reserve(Some("GPU0"), 60).unwrap();
        let error = vram.reserve(Some("GPU0"), 60).unwrap_err();
        assert_eq!((error.needed, error.free), (60, 40));
        assert!(
            vram.reserve(None, 100).is_err(),
            "all devices include that one"
        );
        assert!(
            vram.reserve(Some("GPU1"), 1_000).is_ok(),
            "unknown free memory is no obstacle"
        );
        assert!(vram.reserve(Some("GPU0"), 0).is_ok());
        drop(first);
        assert!(vram.reserve(Some("GPU0"), 60).is_ok());
    }
}
