//! Whether the VRAM suffices for one more engine, those included that are just loading.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;

use crate::PreflightError;

/// The free memory in bytes of the devices that a mask names; `None` when it is not known. May
/// block for seconds.
pub type FreeVram = dyn Fn(Option<&str>) -> Option<u64> + Send + Sync;

/// The memory that is free, and what is promised of it.
#[derive(Clone)]
pub(crate) struct Vram {
    free: Arc<FreeVram>,
    promised: Arc<Mutex<Promises>>,
}

#[derive(Default)]
struct Promises {
    next: u64,
    /// Of each: the mask, and how many bytes.
    open: BTreeMap<u64, (Option<String>, u64)>,
}

impl Vram {
    pub(crate) fn new(free: Arc<FreeVram>) -> Self {
        Self {
            free,
            promised: Arc::default(),
        }
    }

    /// Promises `needed` bytes of the devices of `mask` to an engine that starts, until the promise
    /// is dropped.
    pub(crate) fn promise(
        &self,
        mask: Option<&str>,
        needed: u64,
    ) -> Result<Promise, PreflightError> {
        let known = if needed == 0 { None } else { (self.free)(mask) };
        let mut promised = self.promised.lock();
        if let Some(free) = known {
            let free = free.saturating_sub(promised.of(mask));
            if needed > free {
                return Err(PreflightError::NotEnoughVram { needed, free });
            }
        }
        promised.next += 1;
        let id = promised.next;
        promised.open.insert(id, (mask.map(str::to_owned), needed));
        Ok(Promise {
            id,
            promised: self.promised.clone(),
        })
    }
}

impl Promises {
    /// What is promised of the devices of `mask`. Masks that are spelt differently are taken to
    /// name different devices, unless one of them names all.
    fn of(&self, mask: Option<&str>) -> u64 {
        let overlaps =
            |other: &Option<String>| mask.is_none() || other.is_none() || other.as_deref() == mask;
        let those = self.open.values().filter(|(other, _)| overlaps(other));
        those.fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
    }
}

impl fmt::Debug for Vram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vram").finish_non_exhaustive()
    }
}

/// Memory that an engine is about to take. Once it has taken it, the driver counts it, and this is
/// dropped.
pub(crate) struct Promise {
    id: u64,
    promised: Arc<Mutex<Promises>>,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promised.lock().open.remove(&self.id);
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROV-8
    #[test]
    fn what_is_promised_is_not_free() {
        let vram = Vram::new(Arc::new(|mask| match mask {
            Some("GPU0") => Some(100),
            Some("GPU1") => None,
            _ => Some(150),
        }));
        let first = vram.promise(Some("GPU0"), 60).unwrap();
        let error = vram.promise(Some("GPU0"), 60).unwrap_err();
        assert!(matches!(
            error,
            PreflightError::NotEnoughVram {
                needed: 60,
                free: 40
            }
        ));
        assert!(
            vram.promise(None, 100).is_err(),
            "all devices include that one"
        );
        assert!(
            vram.promise(Some("GPU1"), 1_000).is_ok(),
            "what nobody knows forbids nothing"
        );
        assert!(vram.promise(Some("GPU0"), 0).is_ok());
        drop(first);
        assert!(vram.promise(Some("GPU0"), 60).is_ok());
    }
}
