//! Refused handoffs, for people. The reader of the handoffs reports them.

use pool_registry_types::one_line;

use crate::{core::RegistryCore, probe::usable_reason};

/// The most refusals that are kept. More of them have a common cause.
const MAX_REFUSED: usize = 256;
/// The longest file name that is kept, in bytes: the limit of a path.
const MAX_FILE_BYTES: usize = 4096;

/// A handoff that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedHandoff {
    /// The file it is in.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RegistryCore {
    pub(crate) fn set_refused(&mut self, file: &str, reason: Option<&str>) {
        let file = one_line(file, MAX_FILE_BYTES);
        match reason {
            None => {
                self.refused.remove(&file);
            }
            Some(reason)
                if self.refused.len() < MAX_REFUSED || self.refused.contains_key(&file) =>
            {
                self.refused.insert(file, usable_reason(reason));
            }
            Some(_) => {}
        }
    }

    pub(crate) fn refused(&self) -> Vec<RefusedHandoff> {
        let all = self.refused.iter();
        all.map(|(file, reason)| RefusedHandoff {
            file: file.clone(),
            reason: reason.clone(),
        })
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
        assert_eq!(core.refused()[0].reason, "no  [31m");
        core.set_refused("0.json", Some("still"));
        assert_eq!(
            core.refused()[0].reason,
            "still",
            "a known reason can change"
        );
        for number in 0..1000 {
            core.set_refused(&format!("{number}.json"), None);
        }
        assert_eq!(core.refused(), []);
    }
}
