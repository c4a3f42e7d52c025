//! Which endpoints have seen which prompt prefixes: a bounded index from block hashes to endpoints.

use std::collections::HashMap;

/// The largest number of remembered blocks: 128 Ki blocks stand for 32 MiB of prompts, about what
/// the caches of a small fleet hold. They use about 4 MiB of memory.
const MAX_BLOCKS_REMEMBERED: usize = 128 * 1024;

/// The number of remembered endpoints per block. A popular prefix needs a few; with more, almost
/// every endpoint has it and the index gains nothing.
const ENDPOINTS_PER_BLOCK: usize = 4;

/// Endpoint hashes, most recent first. 0 marks an unused entry; unused entries are last.
type BlockEndpoints = [u64; ENDPOINTS_PER_BLOCK];

/// Remembers where prompts went. When it is full, the older half is forgotten.
#[derive(Debug, Default)]
pub struct PrefixIndex {
    recent: HashMap<u64, BlockEndpoints>,
    older: HashMap<u64, BlockEndpoints>,
}

/// How much of a prompt some endpoints have seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrefixMatch {
    blocks: u32,
    /// Endpoint hashes with the number of blocks that each has seen.
    endpoints: Vec<(u64, u32)>,
}

impl PrefixIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that an endpoint sees a prompt with these blocks. Returns how many of the leading
    /// blocks it had seen before.
    pub fn record(&mut self, blocks: &[u64], endpoint: u64) -> usize {
        let mut seen_before = 0;
        for (depth, block) in (1..).zip(blocks) {
            if self.recent.len() >= MAX_BLOCKS_REMEMBERED / 2 && !self.recent.contains_key(block) {
                self.older = std::mem::take(&mut self.recent);
            }
            let endpoints = self
                .recent
                .entry(*block)
                .or_insert_with(|| self.older.remove(block).unwrap_or_default());
            let known = endpoints.iter().position(|known| *known == endpoint);
            if known.is_some() {
                // It has seen the blocks before this one too, even if others displaced it there.
                seen_before = depth;
            }
            endpoints[..=known.unwrap_or(ENDPOINTS_PER_BLOCK - 1)].rotate_right(1);
            endpoints[0] = endpoint;
        }
        seen_before
    }

    /// Forgets that an endpoint has seen these blocks.
    pub fn forget(&mut self, blocks: &[u64], endpoint: u64) {
        for block in blocks {
            for half in [&mut self.recent, &mut self.older] {
                let Some(endpoints) = half.get_mut(block) else {
                    continue;
                };
                if let Some(position) = endpoints.iter().position(|known| *known == endpoint) {
                    endpoints[position..].rotate_left(1);
                    endpoints[ENDPOINTS_PER_BLOCK - 1] = 0;
                }
                if endpoints[0] == 0 {
                    half.remove(block);
                }
            }
        }
    }

    /// Finds the endpoints that have seen a prefix of these blocks.
    #[must_use]
    pub fn find(&self, blocks: &[u64]) -> PrefixMatch {
        let mut prefix = PrefixMatch {
            blocks: u32::try_from(blocks.len()).unwrap_or(u32::MAX),
            ..PrefixMatch::default()
        };
        for (depth, block) in (1_u32..).zip(blocks) {
            let Some(seen_by) = self.recent.get(block).or_else(|| self.older.get(block)) else {
                break;
            };
            for endpoint in seen_by.iter().filter(|endpoint| **endpoint != 0) {
                match prefix
                    .endpoints
                    .iter_mut()
                    .find(|(known, _)| known == endpoint)
                {
                    Some((_, deepest)) => *deepest = depth,
                    None => prefix.endpoints.push((*endpoint, depth)),
                }
            }
        }
        prefix
    }
}

impl PrefixMatch {
    /// The hashes of the endpoints that have seen some of the prompt, with the number of blocks.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (u64, u32)> {
        self.endpoints.iter().copied()
    }

    /// The fraction of the prompt that an endpoint has seen, in units of `whole`.
    #[must_use]
    pub fn part_seen_by(&self, endpoint: u64, whole: u32) -> u32 {
        let depth = self
            .endpoints
            .iter()
            .find(|(known, _)| *known == endpoint)
            .map_or(0, |(_, depth)| *depth);
        let part = u64::from(whole) * u64::from(depth) / u64::from(self.blocks.max(1));
        // The depth is at most the number of blocks.
        u32::try_from(part).unwrap_or(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_prefix_per_endpoint() {
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

    // spec: PLACE-37
    #[test]
    fn forgets_one_endpoint_of_a_block_and_keeps_the_others() {
        let mut index = PrefixIndex::new();
        assert_eq!(index.record(&[1, 2], 10), 0);
        assert_eq!(index.record(&[1, 2, 3], 10), 2);
        assert_eq!(index.record(&[1, 2, 3], 20), 0);
        index.forget(&[2, 3], 20);
        let found = index.find(&[1, 2, 3]);
        assert_eq!(
            (found.part_seen_by(10, 3), found.part_seen_by(20, 3)),
            (3, 1)
        );
        index.forget(&[2, 3, 4], 10);
        assert_eq!(index.find(&[1, 2, 3]).part_seen_by(10, 3), 1);
        assert_eq!(
            index.recent.len(),
            1,
            "blocks without endpoints are removed"
        );
    }

    #[test]
    fn is_bounded_and_keeps_recently_used_blocks() {
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
