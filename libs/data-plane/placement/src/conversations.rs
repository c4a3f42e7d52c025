//! Where conversations are held: a bounded index from each to its endpoint, and how many each
//! endpoint holds.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::RandomState;

/// How many conversations are remembered at most: three for each slot of ten thousand replicas with
/// four slots, in about 4 MiB. When there are more, the half that has been silent longest is
/// forgotten.
const MAX_CONVERSATIONS: usize = 128 * 1024;

/// After this time without a request a conversation is forgotten, at the latest after twice as
/// long: its cache is then most likely overwritten, and it must not keep a place from others for
/// ever.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// Which conversation is held at which endpoint, both as hashes.
///
/// The key of a conversation is its session
/// ([`Affinity::session_of`](crate::Affinity::session_of)), or the last block of its prompt so far,
/// which changes with each turn. It is active for as long as it is remembered.
#[derive(Debug, Default)]
pub struct Conversations {
    recent: Generation,
    older: Generation,
    /// When `recent` began.
    begun: Duration,
}

#[derive(Debug, Default)]
struct Generation {
    /// Endpoint by conversation.
    places: HashMap<u64, u64, RandomState>,
    /// Conversations by endpoint; endpoints without any are left out.
    counts: HashMap<u64, u32, RandomState>,
}

impl Generation {
    fn insert(&mut self, conversation: u64, endpoint: u64) {
        self.remove(conversation);
        self.places.insert(conversation, endpoint);
        let count = self.counts.entry(endpoint).or_default();
        *count = count.saturating_add(1);
    }

    /// The endpoint where it was.
    fn remove(&mut self, conversation: u64) -> Option<u64> {
        let endpoint = self.places.remove(&conversation)?;
        if let Some(count) = self.counts.get_mut(&endpoint) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&endpoint);
            }
        }
        Some(endpoint)
    }
}

impl Conversations {
    /// The endpoint where a conversation is held.
    #[must_use]
    pub fn endpoint_of(&self, conversation: u64) -> Option<u64> {
        let place = self.recent.places.get(&conversation);
        place
            .or_else(|| self.older.places.get(&conversation))
            .copied()
    }

    /// The conversation that a prompt with these blocks goes on with, and its endpoint: the one
    /// whose last block is furthest into the prompt.
    #[must_use]
    pub fn extended_by(&self, blocks: &[u64]) -> Option<(u64, u64)> {
        let mut ends = blocks.iter().rev();
        ends.find_map(|end| Some((*end, self.endpoint_of(*end)?)))
    }

    /// How many conversations an endpoint holds.
    #[must_use]
    pub fn count(&self, endpoint: u64) -> u32 {
        let of = |generation: &Generation| {
            generation
                .counts
                .get(&endpoint)
                .copied()
                .unwrap_or_default()
        };
        of(&self.recent).saturating_add(of(&self.older))
    }

    /// A conversation is held at `endpoint` at this moment. `before` is the key that it had until
    /// now, if that was another one. Returns the endpoints whose count may have changed.
    pub fn place(
        &mut self,
        conversation: u64,
        before: Option<u64>,
        endpoint: u64,
        now: Duration,
    ) -> Vec<u64> {
        let mut changed = self.forget(now);
        let was_at = self.remove(conversation);
        let came_from = before.and_then(|before| self.remove(before));
        if self.recent.places.len() >= MAX_CONVERSATIONS / 2 {
            changed.extend(self.begin_generation(now));
        }
        self.recent.insert(conversation, endpoint);
        match (was_at, came_from) {
            (Some(place), None) | (None, Some(place)) if place == endpoint => {}
            _ => changed.extend([Some(endpoint), was_at, came_from].into_iter().flatten()),
        }
        changed
    }

    /// Forgets conversations that have been silent for long. Returns the endpoints whose count may
    /// have changed.
    pub fn forget(&mut self, now: Duration) -> Vec<u64> {
        let silent = now.saturating_sub(self.begun);
        if silent < SILENCE {
            return Vec::new();
        }
        let mut changed = self.begin_generation(now);
        if silent >= SILENCE.saturating_mul(2) {
            changed.extend(self.begin_generation(now));
        }
        changed
    }

    /// Forgets the older half; the endpoints that held some of it.
    fn begin_generation(&mut self, now: Duration) -> Vec<u64> {
        self.begun = now;
        let recent = std::mem::take(&mut self.recent);
        let forgotten = std::mem::replace(&mut self.older, recent);
        forgotten.counts.into_keys().collect()
    }

    fn remove(&mut self, conversation: u64) -> Option<u64> {
        let place = self.recent.remove(conversation);
        place.or_else(|| self.older.remove(conversation))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_conversation_is_counted_once_wherever_it_goes() {
        let mut known = Conversations::default();
        assert_eq!(known.place(1, None, 10, S), [10]);
        assert!(known.place(1, None, 10, S).is_empty(), "it stays");
        assert!(
            known.place(2, Some(1), 10, S).is_empty(),
            "it goes on under another key"
        );
        assert_eq!((known.count(10), known.endpoint_of(1)), (1, None));
        assert_eq!(known.place(2, Some(2), 20, S), [20, 10], "it moves");
        assert_eq!((known.count(10), known.count(20)), (0, 1));
        assert_eq!(known.extended_by(&[7, 2, 9]), Some((2, 20)));
        assert_eq!(known.extended_by(&[7, 9]), None);
    }

    // spec: PLACE-31
    #[test]
    fn what_is_silent_for_long_is_forgotten_and_what_is_not_is_kept() {
        let mut known = Conversations::default();
        known.place(1, None, 10, Duration::ZERO);
        known.place(2, None, 10, Duration::ZERO);
        for minutes in 1..60_u32 {
            known.place(2, None, 10, 60 * minutes * S);
        }
        assert_eq!(
            (known.endpoint_of(1), known.endpoint_of(2)),
            (None, Some(10))
        );
        assert_eq!(known.count(10), 1);
        assert_eq!(known.forget(24 * 3600 * S), [10]);
        assert_eq!(known.count(10), 0);
    }

    // spec: PLACE-31
    #[test]
    fn the_index_is_bounded_and_keeps_what_is_used() {
        let mut known = Conversations::default();
        for number in 0..2 * MAX_CONVERSATIONS as u64 {
            known.place(1_000 + number, None, number % 7, S);
            if number % 1000 == 0 {
                known.place(1, None, 9, S);
            }
        }
        let held = known.recent.places.len() + known.older.places.len();
        assert!(held <= MAX_CONVERSATIONS);
        assert_eq!(
            (known.endpoint_of(1), known.endpoint_of(1_000)),
            (Some(9), None)
        );
        let counted: u32 = (0..10).map(|endpoint| known.count(endpoint)).sum();
        assert_eq!(counted as usize, held);
    }

    proptest! {
        /// Whatever happens: each conversation is at one endpoint, the counts are those of the entries, and every endpoint
        /// whose count has changed was named.
        #[test]
        fn counts_are_right(steps in prop::collection::vec((0..9_u64, prop::option::of(0..9_u64), 0..4_u64, any::<u8>()), 0..60)) {
            let (mut known, mut now) = (Conversations::default(), Duration::ZERO);
            for (key, before, endpoint, minutes) in steps {
                let counts: Vec<u32> = (0..4).map(|endpoint| known.count(endpoint)).collect();
                now += Duration::from_secs(u64::from(minutes % 16) * 60);
                let changed = known.place(key, before, endpoint, now);
                for (endpoint, count) in (0..4).zip(counts) {
                    prop_assert!(known.count(endpoint) == count || changed.contains(&endpoint));
                    let of = |generation: &Generation| generation.places.values().filter(|place| **place == endpoint).count();
                    prop_assert_eq!(known.count(endpoint) as usize, of(&known.recent) + of(&known.older));
                }
                prop_assert_eq!(known.endpoint_of(key), Some(endpoint));
                prop_assert!((0..9).all(|key| !(known.recent.places.contains_key(&key) && known.older.places.contains_key(&key))));
            }
        }
    }
}
