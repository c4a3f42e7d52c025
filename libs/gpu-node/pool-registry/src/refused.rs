//! Refused handoffs, for people. The reader of the handoffs reports them.

use pool_registry_types::{RefusedHandoff, one_line};

use crate::{core::RegistryCore, probe::usable_reason};

/// The most refusals that are kept. More of them have a common cause.
const MAX_REFUSED: usize = 256;
/// The longest file name that is kept, in bytes: the limit of a path.
const MAX_FILE_BYTES: usize = 4096;

impl RegistryCore {
    /// Returns whether anything changed.
    pub(crate) fn set_refused(&mut self, file: &str, reason: Option<&str>) -> bool {
        let file = one_line(file, MAX_FILE_BYTES);
        match reason {
            None => self.refused.remove(&file).is_some(),
            Some(reason)
                if self.refused.len() < MAX_REFUSED || self.refused.contains_key(&file) =>
            {
                let reason = usable_reason(reason);
                self.refused.insert(file, reason.clone()) != Some(reason)
            }
            Some(_) => false,
        }
    }

    pub(crate) fn refused(&self) -> Vec<RefusedHandoff> {
        let all = self.refused.iter();
        all.map(|(file, reason)| RefusedHandoff::new(file, reason))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_bounded_and_clean() {
        let mut core = RegistryCore::default();
        for number in 0..1000 {
            core.set_refused(&format!("{number}.json"), Some("no\n\u{1b}[31m"));
        }
        assert_eq!(core.refused().len(), MAX_REFUSED);
        assert_eq!(core.refused()[0].reason(), "no  [31m");
        core.set_refused("0.json", Some("still"));
        assert_eq!(
            core.refused()[0].reason(),
            "still",
            "a known reason can change"
        );
        for number in 0..1000 {
            core.set_refused(&format!("{number}.json"), None);
        }
        assert_eq!(core.refused(), []);
    }
}
