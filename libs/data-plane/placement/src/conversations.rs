//! Which endpoint holds which conversation: a bounded index, with a count for each endpoint.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::RandomState;

/// The largest number of remembered conversations: three for each slot of ten thousand replicas
/// with four slots, in about 4 MiB. When there are more, the half that has been idle longest is
/// forgotten.
const MAX_CONVERSATIONS: usize = 128 * 1024;

/// A conversation without a request is remembered for at least this time, and at most for twice as
/// long. Its cache is most likely overwritten by then, and it must not count against its endpoint
/// for ever.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Which endpoint holds which conversation, both as hashes.
///
/// The key of a conversation is its session
/// ([`Affinity::conversation_key`](crate::Affinity::conversation_key)), or the last block of its
/// prompt so far, which changes with each turn. A conversation is active while it is remembered.
#[derive(Debug, Default)]
pub struct Conversations {
    recent: Generation,
    older: Generation,
    /// When the last rotation was.
    rotated: Duration,
}

#[derive(Debug, Default)]
struct Generation {
    /// Endpoint by conversation.
    endpoints: HashMap<u64, u64, RandomState>,
    /// Conversations by endpoint; endpoints without any are left out.
    counts: HashMap<u64, u32, RandomState>,
}

impl Generation {
    fn insert(&mut self, conversation: u64, endpoint: u64) {
        self.remove(conversation);
        self.endpoints.insert(conversation, endpoint);
        let count = self.counts.entry(endpoint).or_default();
        *count = count.saturating_add(1);
    }

    /// Removes a conversation and returns its endpoint.
    fn remove(&mut self, conversation: u64) -> Option<u64> {
        let endpoint = self.endpoints.remove(&conversation)?;
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
    /// The endpoint that holds a conversation.
    #[must_use]
    pub fn endpoint_of(&self, conversation: u64) -> Option<u64> {
        let place = self.recent.endpoints.get(&conversation);
        place
            .or_else(|| self.older.endpoints.get(&conversation))
            .copied()
    }

    /// The conversation that a prompt with these blocks continues, and its endpoint. It is the
    /// conversation whose last block is deepest in the prompt.
    #[must_use]
    pub fn find_by_blocks(&self, blocks: &[u64]) -> Option<(u64, u64)> {
        let mut ends = blocks.iter().rev();
        ends.find_map(|end| Some((*end, self.endpoint_of(*end)?)))
    }

    /// The number of conversations that an endpoint holds.
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

    /// Records that `endpoint` holds a conversation from now on. `before` is its previous key, if
    /// that was another one. Returns the endpoints whose count may have changed.
    pub fn record(
        &mut self,
        conversation: u64,
        before: Option<u64>,
        endpoint: u64,
        now: Duration,
    ) -> Vec<u64> {
        let mut changed = self.expire(now);
        let was_at = self.remove(conversation);
        let came_from = before.and_then(|before| self.remove(before));
        if self.recent.endpoints.len() >= MAX_CONVERSATIONS / 2 {
            changed.extend(self.rotate(now));
        }
        self.recent.insert(conversation, endpoint);
        match (was_at, came_from) {
            (Some(place), None) | (None, Some(place)) if place == endpoint => {}
            _ => changed.extend([Some(endpoint), was_at, came_from].into_iter().flatten()),
        }
        changed
    }

    /// Forgets idle conversations. Returns the endpoints whose count may have changed.
    pub fn expire(&mut self, now: Duration) -> Vec<u64> {
        let idle = now.saturating_sub(self.rotated);
        if idle < IDLE_TIMEOUT {
            return Vec::new();
        }
        let mut changed = self.rotate(now);
        if idle >= IDLE_TIMEOUT.saturating_mul(2) {
            changed.extend(self.rotate(now));
        }
        changed
    }

    /// Forgets the older half. Returns the endpoints that held some of it.
    fn rotate(&mut self, now: Duration) -> Vec<u64> {
        self.rotated = now;
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
        assert_eq!(known.record(1, None, 10, S), [10]);
        assert!(known.record(1, None, 10, S).is_empty(), "it stays");
        assert!(
            known.record(2, Some(1), 10, S).is_empty(),
            "it goes on under another key"
        );
        assert_eq!((known.count(10), known.endpoint_of(1)), (1, None));
        assert_eq!(known.record(2, Some(2), 20, S), [20, 10], "it moves");
        assert_eq!((known.count(10), known.count(20)), (0, 1));
        assert_eq!(known.find_by_blocks(&[7, 2, 9]), Some((2, 20)));
        assert_eq!(known.find_by_blocks(&[7, 9]), None);
    }

    // spec: PLACE-31
    #[test]
    fn idle_conversations_are_forgotten_and_active_ones_are_kept() {
        let mut known = Conversations::default();
        known.record(1, None, 10, Duration::ZERO);
        known.record(2, None, 10, Duration::ZERO);
        for minutes in 1..60_u32 {
            known.record(2, None, 10, 60 * minutes * S);
        }
        assert_eq!(
            (known.endpoint_of(1), known.endpoint_of(2)),
            (None, Some(10))
        );
        assert_eq!(known.count(10), 1);
        assert_eq!(known.expire(24 * 3600 * S), [10]);
        assert_eq!(known.count(10), 0);
    }

    // spec: PLACE-31
    #[test]
    fn the_index_is_bounded_and_keeps_active_conversations() {
        let mut known = Conversations::default();
        for number in 0..2 * MAX_CONVERSATIONS as u64 {
            known.record(1_000 + number, None, number % 7, S);
            if number % 1000 == 0 {
                known.record(1, None, 9, S);
            }
        }
        let held = known.recent.endpoints.len() + known.older.endpoints.len();
        assert!(held <= MAX_CONVERSATIONS);
        assert_eq!(
            (known.endpoint_of(1), known.endpoint_of(1_000)),
            (Some(9), None)
        );
        let counted: u32 = (0..10).map(|endpoint| known.count(endpoint)).sum();
        assert_eq!(counted as usize, held);
    }

    proptest! {
        /// Each conversation is at one endpoint, the counts equal the entries, and every endpoint
        /// whose count has changed is returned.
        #[test]
        fn counts_equal_the_entries(
            steps in prop::collection::vec(
                (0..9_u64, prop::option::of(0..9_u64), 0..4_u64, any::<u8>()),
                0..60,
            ),
        ) {
            let (mut known, mut now) = (Conversations::default(), Duration::ZERO);
            for (key, before, endpoint, minutes) in steps {
                let counts: Vec<u32> = (0..4).map(|endpoint| known.count(endpoint)).collect();
                now += Duration::from_secs(u64::from(minutes % 16) * 60);
                let changed = known.record(key, before, endpoint, now);
                for (endpoint, count) in (0..4).zip(counts) {
                    prop_assert!(known.count(endpoint) == count || changed.contains(&endpoint));
                    let entries = [&known.recent, &known.older];
                    let entries = entries.iter().flat_map(|half| half.endpoints.values());
                    let entries = entries.filter(|holder| **holder == endpoint).count();
                    prop_assert_eq!(known.count(endpoint) as usize, entries);
                }
                prop_assert_eq!(known.endpoint_of(key), Some(endpoint));
                let [recent, older] = [&known.recent.endpoints, &known.older.endpoints];
                prop_assert!(recent.keys().all(|key| !older.contains_key(key)));
            }
        }
    }
}
