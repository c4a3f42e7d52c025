//! Episodes in which this process is at a limit of its own: reported once at the beginning and once
//! at the end.

use std::time::{Duration, Instant};

/// How long no call may meet the limit until the episode ends. Near a limit some calls fail and
/// others succeed; without this each of them would begin or end an episode.
const QUIET: Duration = Duration::from_secs(5);

/// A change to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The process met a limit.
    Began,
    /// It has not met one for a while.
    Ended,
}

/// Tracks whether calls meet a limit of this process. It has no clock of its own.
#[derive(Debug, Clone, Default)]
pub struct Episode {
    last_met: Option<Instant>,
}

impl Episode {
    /// Records at `now` whether a call met a limit.
    pub fn note(&mut self, is_met: bool, now: Instant) -> Option<Turn> {
        match (self.last_met, is_met) {
            (before, true) => {
                self.last_met = Some(now);
                before.is_none().then_some(Turn::Began)
            }
            (Some(last), false) if now.saturating_duration_since(last) >= QUIET => {
                self.last_met = None;
                Some(Turn::Ended)
            }
            (_, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LIVE-17
    #[test]
    fn an_episode_is_reported_twice_despite_flicker() {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as an origin"
        )]
        let origin = Instant::now();
        let mut episode = Episode::default();
        let told: Vec<_> = (0..200_u64)
            .filter_map(|step| {
                // Every other call fails for five seconds; then none does.
                let is_met = step < 50 && step % 2 == 0;
                let now = origin + Duration::from_millis(100 * step);
                episode.note(is_met, now).map(|turn| (step, turn))
            })
            .collect();
        assert_eq!(told, [(0, Turn::Began), (98, Turn::Ended)]);
    }
}
