//! When this process is at a limit of its own, as people are told it: once at the beginning, once
//! at the end.

use std::time::{Duration, Instant};

/// How long nothing may meet the limit until it counts as over. Near a limit some calls fail and
/// others do not; without this each of them would begin or end an episode.
const QUIET: Duration = Duration::from_secs(5);

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The process has met a limit.
    Began,
    /// It has met none for a while.
    Ended,
}

/// Follows whether calls meet a limit of this process. It has no clock of its own.
#[derive(Debug, Clone, Default)]
pub struct Episode {
    last_met: Option<Instant>,
}

impl Episode {
    /// A call has met a limit, or has not, at `now`.
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
    fn an_episode_is_told_twice_however_often_it_flickers() {
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
