//! Free and total slots of a pool or a replica.

use crate::{invalid::InvalidField, limits::MAX_SLOTS};

/// Free and total slots: at most as many are free as there are, and at most
/// [`MAX_SLOTS`](crate::MAX_SLOTS) there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    free: u32,
    total: u32,
}

impl Slots {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When more slots are free than there are, or there are too many.
    pub fn new(free: u32, total: u32) -> Result<Self, InvalidField> {
        if total > MAX_SLOTS {
            return Err(InvalidField::new(
                "slots_total",
                format!("must be at most {MAX_SLOTS}, not {total}"),
            ));
        }
        if free > total {
            return Err(InvalidField::new(
                "slots_free",
                format!("must be at most slots_total ({total}), not {free}"),
            ));
        }
        Ok(Self { free, total })
    }

    /// Reduces numbers that are too large: the total first, then the free slots.
    #[must_use]
    pub fn clamped(free: u32, total: u32) -> Self {
        let total = total.min(MAX_SLOTS);
        Self {
            free: free.min(total),
            total,
        }
    }

    /// Slots that a request could take now.
    #[must_use]
    pub fn free(self) -> u32 {
        self.free
    }

    /// All slots.
    #[must_use]
    pub fn total(self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_numbers_are_refused_or_clamped() {
        for (free, total, refused, clamped) in [
            (0, 0, None, (0, 0)),
            (3, 4, None, (3, 4)),
            (5, 4, Some("slots_free"), (4, 4)),
            (0, MAX_SLOTS + 1, Some("slots_total"), (0, MAX_SLOTS)),
            (
                u32::MAX,
                u32::MAX,
                Some("slots_total"),
                (MAX_SLOTS, MAX_SLOTS),
            ),
        ] {
            let error = Slots::new(free, total).err();
            assert_eq!(error.as_ref().map(InvalidField::field), refused);
            let slots = Slots::clamped(free, total);
            assert_eq!((slots.free(), slots.total()), clamped);
        }
    }
}
