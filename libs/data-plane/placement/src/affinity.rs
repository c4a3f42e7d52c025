//! What makes two requests belong together: a session, or the beginning of a prompt.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How much of a prompt one block covers, in bytes: about 64 tokens, a few blocks of an engine's own cache.
const BLOCK_BYTES: usize = 256;

/// How many blocks of a prompt are looked at: 64 KiB, beyond which a shared beginning is already worth going for.
pub const MAX_BLOCKS: usize = 256;

/// What a request has in common with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The conversation it belongs to, see [`session_key`].
    pub session: Option<u64>,
    /// The beginning of its prompt, see [`prompt_blocks`].
    pub blocks: Vec<u64>,
}

/// The key of a session id. The same in every process, so that several control planes agree.
#[must_use]
pub fn session_key(session_id: &str) -> u64 {
    xxh3_64(session_id.as_bytes())
}

/// One hash per whole block of a prompt, each over everything up to its end: two prompts share a hash exactly when
/// they are the same up to there. The model is part of it, since engines share nothing between models.
#[must_use]
pub fn prompt_blocks(model: &str, prompt: &[u8]) -> Vec<u64> {
    let start = xxh3_64(model.as_bytes());
    prompt
        .chunks_exact(BLOCK_BYTES)
        .take(MAX_BLOCKS)
        .scan(start, |before, block| {
            *before = xxh3_64_with_seed(block, *before);
            Some(*before)
        })
        .collect()
}

/// A number that two hashes have together: as good as random, and always the same. The two halves of their product with
/// an odd number, folded: one multiplication, because a session asks this of every endpoint.
pub(crate) fn mix(session: u64, endpoint: u64) -> u64 {
    /// The golden ratio's digits: no pattern in its bits.
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(session ^ endpoint) * u128::from(ODD);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tell_where_two_prompts_part() {
        let shared = "x".repeat(3 * BLOCK_BYTES);
        let (a, b) = (
            format!("{shared}{}", "a".repeat(600)),
            format!("{shared}{}", "b".repeat(600)),
        );
        let (a, b) = (prompt_blocks("m", a.as_bytes()), prompt_blocks("m", b.as_bytes()));
        assert_eq!((a.len(), b.len()), (5, 5));
        assert_eq!(a[..3], b[..3]);
        assert!(a[3..].iter().all(|hash| !b.contains(hash)));
    }

    #[test]
    fn models_share_nothing_and_long_prompts_are_bounded() {
        let prompt = vec![b'x'; 10 * MAX_BLOCKS * BLOCK_BYTES];
        assert_eq!(prompt_blocks("m", &prompt).len(), MAX_BLOCKS);
        assert_ne!(prompt_blocks("m", &prompt)[0], prompt_blocks("n", &prompt)[0]);
        assert_eq!(prompt_blocks("m", b"short"), Vec::<u64>::new());
    }
}
