//! Who has seen which beginning of a prompt: a bounded index from block hashes to endpoints.

use std::collections::HashMap;

/// How many blocks are remembered at most: 128 Ki blocks stand for 32 MiB of prompts, about what
/// the caches of a small fleet hold, in about 4 MiB of memory.
const MAX_BLOCKS_REMEMBERED: usize = 128 * 1024;

/// How many endpoints are remembered per block: a popular beginning needs a few, and more would
/// only mean that everybody has it.
const ENDPOINTS_PER_BLOCK: usize = 4;

/// Endpoint hashes, most recent first; 0 stands for none.
type Seen = [u64; ENDPOINTS_PER_BLOCK];

/// Remembers where prompts went. The oldest half is forgotten when it is full.
#[derive(Debug, Default)]
pub struct PrefixIndex {
    recent: HashMap<u64, Seen>,
    older: HashMap<u64, Seen>,
}

/// How much of a prompt each of a few endpoints has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrefixMatch {
    blocks: u32,
    /// `(endpoint hash, blocks seen)`.
    seen: Vec<(u64, u32)>,
}

impl PrefixIndex {
    /// An index that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A prompt with these blocks goes to an endpoint.
    pub fn record(&mut self, blocks: &[u64], endpoint: u64) {
        for block in blocks {
            if self.recent.len() >= MAX_BLOCKS_REMEMBERED / 2 && !self.recent.contains_key(block) {
                self.older = std::mem::take(&mut self.recent);
            }
            let seen = self
                .recent
                .entry(*block)
                .or_insert_with(|| self.older.remove(block).unwrap_or_default());
            let place = seen
                .iter()
                .position(|known| *known == endpoint)
                .unwrap_or(ENDPOINTS_PER_BLOCK - 1);
            seen[..=place].rotate_right(1);
            seen[0] = endpoint;
        }
    }

    /// Who has seen how much of a prompt with these blocks.
    #[must_use]
    pub fn find(&self, blocks: &[u64]) -> PrefixMatch {
        let mut found = PrefixMatch {
            blocks: u32::try_from(blocks.len()).unwrap_or(u32::MAX),
            ..PrefixMatch::default()
        };
        for (depth, block) in (1_u32..).zip(blocks) {
            let Some(seen) = self.recent.get(block).or_else(|| self.older.get(block)) else {
                break;
            };
            for endpoint in seen.iter().filter(|endpoint| **endpoint != 0) {
                match found.seen.iter_mut().find(|(known, _)| known == endpoint) {
                    Some((_, deepest)) => *deepest = depth,
                    None => found.seen.push((*endpoint, depth)),
                }
            }
        }
        found
    }
}

impl PrefixMatch {
    /// The hashes of the endpoints that have seen some of the prompt, and how many of its blocks.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (u64, u32)> {
        self.seen.iter().copied()
    }

    /// The part of the prompt that an endpoint has seen, of `whole`.
    #[must_use]
    pub fn part_seen_by(&self, endpoint: u64, whole: u32) -> u32 {
        let depth = self
            .seen
            .iter()
            .find(|(known, _)| *known == endpoint)
            .map_or(0, |(_, depth)| *depth);
        let part = u64::from(whole) * u64::from(depth) / u64::from(self.blocks.max(1));
        // No endpoint has seen more than all.
        u32::try_from(part).unwrap_or(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_beginning_per_endpoint() {
        let mut index = PrefixIndex::new();
        index.record(&[1, 2, 3, 4], 10);
        index.record(&[1, 2, 7], 20);
        let found = index.find(&[1, 2, 3, 9]);
        assert_eq!(found.part_seen_by(10, 100), 75);
        assert_eq!(found.part_seen_by(20, 100), 50);
        assert_eq!(found.part_seen_by(30, 100), 0);
        assert_eq!(index.find(&[]).part_seen_by(10, 100), 0);
    }

    #[test]
    fn keeps_the_most_recent_endpoints_of_a_block() {
        let mut index = PrefixIndex::new();
        for endpoint in [1, 2, 3, 4, 2, 5] {
            index.record(&[9], endpoint);
        }
        let found = index.find(&[9]);
        let known: Vec<u64> = (1..=5)
            .filter(|endpoint| found.part_seen_by(*endpoint, 1) == 1)
            .collect();
        assert_eq!(known, [2, 3, 4, 5]);
    }

    #[test]
    fn is_bounded_and_keeps_what_is_used() {
        let mut index = PrefixIndex::new();
        for block in 0..2 * MAX_BLOCKS_REMEMBERED as u64 {
            index.record(&[block + 1_000], 1);
            if block % 1000 == 0 {
                index.record(&[1], 1);
            }
        }
        assert!(index.recent.len() + index.older.len() <= MAX_BLOCKS_REMEMBERED);
        assert_eq!(index.find(&[1]).part_seen_by(1, 1), 1);
        assert_eq!(index.find(&[1_000]).part_seen_by(1, 1), 0);
    }
}
