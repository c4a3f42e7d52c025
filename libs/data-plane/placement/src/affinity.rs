//! What two requests have in common: a session, or a prompt prefix.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The size of a prompt block in bytes: about 64 tokens, a few blocks of an engine's own cache.
pub(crate) const BLOCK_BYTES: usize = 256;

/// The number of hashed blocks of a prompt: 64 KiB. A shared prefix of that size is decisive, and
/// more blocks would not change the choice.
pub const MAX_BLOCKS: usize = 256;

/// The number of message ends that are kept beyond [`MAX_BLOCKS`]. It is more than one turn adds to
/// a conversation, tool calls included, so each turn still extends the one before.
const MAX_LATE_ENDS: usize = 32;

/// What a request has in common with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The key of its session, see [`session_key`].
    pub session: Option<u64>,
    /// The block hashes of its prompt, see [`prompt_blocks`] and [`ChatBlocks`].
    pub blocks: Vec<u64>,
}

impl Affinity {
    /// The key of the session's conversation in [`Conversations`](crate::Conversations). The model
    /// is part of the key: a session with two models is two conversations, maybe on two engines.
    #[must_use]
    pub fn conversation_key(&self, model: &str) -> Option<u64> {
        let session = self.session?;
        Some(xxh3_64_with_seed(model.as_bytes(), session))
    }
}

/// The key of a session id. It is equal in every process, so several control planes agree.
#[must_use]
pub fn session_key(session_id: &str) -> u64 {
    xxh3_64(session_id.as_bytes())
}

/// One hash for each whole block of a prompt, computed over the prompt up to the block's end. Two
/// prompts share a hash exactly when they are equal up to there. The model is part of the hash,
/// because engines share no cache between models.
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

/// Computes the blocks of a chat, like [`prompt_blocks`]. Each message also ends a block, however
/// short it is, so the blocks of one turn are a prefix of those of the next turn.
///
/// Beyond the first [`MAX_BLOCKS`] only the ends of messages are hashed, and only the last ends
/// are kept.
#[derive(Debug, Clone)]
pub struct ChatBlocks {
    end: u64,
    blocks: Vec<u64>,
    /// The index of the oldest end among the blocks beyond [`MAX_BLOCKS`].
    oldest: usize,
}

impl ChatBlocks {
    /// Starts a chat with `model` that has no messages yet.
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self {
            end: xxh3_64(model.as_bytes()),
            blocks: Vec::new(),
            oldest: 0,
        }
    }

    /// Adds a message: any bytes that are equal in each turn.
    pub fn push(&mut self, message: &[u8]) {
        let room = MAX_BLOCKS.saturating_sub(self.blocks.len());
        let (near, far) = message.split_at(message.len().min(room.saturating_mul(BLOCK_BYTES)));
        for block in near.chunks(BLOCK_BYTES) {
            self.end = xxh3_64_with_seed(block, self.end);
            self.blocks.push(self.end);
        }
        if !far.is_empty() {
            self.end = xxh3_64_with_seed(far, self.end);
            self.push_late(self.end);
        }
    }

    /// Keeps the end of a message. When there are too many, it replaces the oldest one.
    fn push_late(&mut self, end: u64) {
        if self.blocks.len() < MAX_BLOCKS + MAX_LATE_ENDS {
            self.blocks.push(end);
        } else if let Some(oldest) = self.blocks.get_mut(MAX_BLOCKS + self.oldest) {
            *oldest = end;
            self.oldest = (self.oldest + 1) % MAX_LATE_ENDS;
        }
    }

    /// The hashes, in the order of the prompt.
    #[must_use]
    pub fn finish(mut self) -> Vec<u64> {
        if let Some(late) = self.blocks.get_mut(MAX_BLOCKS..) {
            late.rotate_left(self.oldest);
        }
        self.blocks
    }
}

/// Mixes two hashes into one. It multiplies by an odd number and folds the halves of the product: a
/// new session mixes its hash with those of many endpoints, so this is one multiplication.
pub(crate) fn mix(session: u64, endpoint: u64) -> u64 {
    /// The digits of the golden ratio, which have no pattern in their bits.
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(session ^ endpoint) * u128::from(ODD);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the product is split into its two halves"
    )]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_equal_up_to_the_first_difference() {
        let shared = "x".repeat(3 * BLOCK_BYTES);
        let (a, b) = (
            format!("{shared}{}", "a".repeat(600)),
            format!("{shared}{}", "b".repeat(600)),
        );
        let (a, b) = (
            prompt_blocks("m", a.as_bytes()),
            prompt_blocks("m", b.as_bytes()),
        );
        assert_eq!((a.len(), b.len()), (5, 5));
        assert_eq!(a[..3], b[..3]);
        assert!(a[3..].iter().all(|hash| !b.contains(hash)));
    }

    #[test]
    fn models_share_nothing_and_long_prompts_are_bounded() {
        let prompt = vec![b'x'; 10 * MAX_BLOCKS * BLOCK_BYTES];
        assert_eq!(prompt_blocks("m", &prompt).len(), MAX_BLOCKS);
        assert_ne!(
            prompt_blocks("m", &prompt)[0],
            prompt_blocks("n", &prompt)[0]
        );
        assert_eq!(prompt_blocks("m", b"short"), Vec::<u64>::new());
        let session = |model| {
            let affinity = Affinity {
                session: Some(7),
                blocks: Vec::new(),
            };
            affinity.conversation_key(model)
        };
        assert_ne!(session("m"), session("n"));
        assert_eq!(Affinity::default().conversation_key("m"), None);
    }

    fn chat(messages: &[Vec<u8>]) -> Vec<u64> {
        let mut blocks = ChatBlocks::new("m");
        for message in messages {
            blocks.push(message);
        }
        blocks.finish()
    }

    // spec: PLACE-33
    #[test]
    fn each_turn_of_a_chat_extends_the_one_before_whatever_its_length() {
        let lengths = [
            1,
            300,
            256,
            40,
            2 * MAX_BLOCKS * BLOCK_BYTES,
            5,
            700,
            1,
            9_000,
            3,
        ];
        let messages: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![b'x'; length]).collect();
        for turn in 1..messages.len() {
            let (now, next) = (chat(&messages[..turn]), chat(&messages[..=turn]));
            assert!(
                next.len() > now.len() && next.starts_with(&now),
                "turn {turn}"
            );
        }
        let mut other = messages.clone();
        other[3][0] = b'y';
        let (a, b) = (chat(&messages), chat(&other));
        assert_eq!(
            a[..4],
            b[..4],
            "two messages, in one and two blocks, and one of just a block"
        );
        assert!(a[4..].iter().all(|hash| !b.contains(hash)));
    }

    // spec: PLACE-33
    #[test]
    fn a_chat_beyond_all_blocks_still_contains_the_end_of_the_turn_before() {
        let messages: Vec<Vec<u8>> = (0..1000_u32).map(|n| n.to_be_bytes().repeat(60)).collect();
        for turn in (2..messages.len()).step_by(2) {
            let (now, next) = (chat(&messages[..turn]), chat(&messages[..turn + 2]));
            assert!(next.contains(now.last().unwrap()), "turn {turn}");
            assert!(next.len() <= MAX_BLOCKS + MAX_LATE_ENDS);
        }
    }
}
