//! The tiny model's vocabulary: a list of words, and what the tokenizer needs to find them.

use std::collections::HashSet;

/// The words of an answer, in this order, repeated.
pub const WORDS: [&str; 72] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "apple",
    "bread",
    "cloud",
    "dance",
    "eagle",
    "flame",
    "grape",
    "house",
    "island",
    "jungle",
    "kettle",
    "lemon",
    "mountain",
    "needle",
    "ocean",
    "paper",
    "queen",
    "river",
    "stone",
    "tiger",
    "umbrella",
    "valley",
    "window",
    "yellow",
    "zebra",
    "anchor",
    "bridge",
    "candle",
    "desert",
    "engine",
    "forest",
    "garden",
    "harbor",
    "insect",
    "jacket",
    "kitchen",
    "ladder",
    "mirror",
    "notebook",
    "orange",
    "pencil",
    "quiet",
    "rabbit",
    "silver",
    "table",
    "under",
    "velvet",
    "winter",
    "xenon",
    "yonder",
    "zipper",
];

/// Token ids that the metadata names.
pub(super) const UNKNOWN: u32 = 0;
pub(super) const BEGIN: u32 = 1;
pub(super) const END: u32 = 2;

/// Roles of the chat template, each a control token. The assistant's comes last in every chat
/// prompt.
const ROLES: [&str; 4] = ["<|system|>", "<|user|>", "<|tool|>", ASSISTANT];
const ASSISTANT: &str = "<|assistant|>";

/// SentencePiece writes a word's leading space as this character.
const SPACE: char = '\u{2581}';

/// The number of tokens is padded to a multiple of this, because engines like even matrix sizes.
const PAD_TO: usize = 32;

/// What a token is for; the numbers are the file format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    Unused = 5,
    Byte = 6,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// All tokens, and where the interesting ones are.
#[derive(Debug, Clone)]
pub(super) struct Vocab {
    pub(super) tokens: Vec<Token>,
    /// Ids of [`WORDS`], in the same order.
    pub(super) words: Vec<u32>,
    pub(super) assistant: u32,
}

impl Vocab {
    /// Words first (the best scores), then the prefixes by whose merging the tokenizer reaches a
    /// word, then single characters, so that any ASCII text can be tokenized.
    pub(super) fn new() -> Self {
        let mut builder = Builder::default();
        builder.add("<unk>", 0.0, Kind::Unknown);
        builder.add("<s>", 0.0, Kind::Control);
        builder.add("</s>", 0.0, Kind::Control);
        for role in ROLES {
            builder.add(role, 0.0, Kind::Control);
        }
        let assistant = builder.last_id();
        for byte in 0..=u8::MAX {
            builder.add(&format!("<0x{byte:02X}>"), 0.0, Kind::Byte);
        }
        let pieces: Vec<String> = WORDS.iter().map(|word| format!("{SPACE}{word}")).collect();
        let words = pieces
            .iter()
            .map(|piece| builder.add_piece(piece, 0.0))
            .collect();
        for piece in &pieces {
            for (end, _) in piece.char_indices().skip(2) {
                builder.add_piece(&piece[..end], -1000.0);
            }
        }
        for character in std::iter::once(SPACE).chain('!'..='~') {
            builder.add_piece(character.encode_utf8(&mut [0; 4]), -5000.0);
        }
        while !builder.tokens.len().is_multiple_of(PAD_TO) {
            builder.add(
                &format!("<unused{}>", builder.tokens.len()),
                0.0,
                Kind::Unused,
            );
        }
        Self {
            tokens: builder.tokens,
            words,
            assistant,
        }
    }

    pub(super) fn len(&self) -> u32 {
        // A few hundred tokens.
        self.tokens.len() as u32
    }
}

#[derive(Default)]
struct Builder {
    tokens: Vec<Token>,
    pieces: HashSet<String>,
}

impl Builder {
    fn add(&mut self, text: &str, score: f32, kind: Kind) {
        self.tokens.push(Token {
            text: text.to_owned(),
            score,
            kind,
        });
    }

    /// Adds a piece of text once; earlier ones of a class score higher.
    fn add_piece(&mut self, text: &str, class: f32) -> u32 {
        if self.pieces.insert(text.to_owned()) {
            self.add(text, class - self.pieces.len() as f32, Kind::Normal);
        }
        self.last_id()
    }

    fn last_id(&self) -> u32 {
        self.tokens.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_every_printable_character_is_a_token() {
        let vocab = Vocab::new();
        for (word, &id) in WORDS.iter().zip(&vocab.words) {
            assert_eq!(vocab.tokens[id as usize].text, format!("\u{2581}{word}"));
        }
        for character in '!'..='~' {
            assert!(
                vocab
                    .tokens
                    .iter()
                    .any(|token| token.text == character.to_string()),
                "{character}"
            );
        }
        assert_eq!(vocab.tokens[vocab.assistant as usize].text, ASSISTANT);
        assert_eq!(vocab.tokens[END as usize].text, "</s>");
        assert_eq!(vocab.len() % 32, 0);
    }

    #[test]
    fn no_text_comes_twice() {
        let vocab = Vocab::new();
        let texts: HashSet<&str> = vocab
            .tokens
            .iter()
            .map(|token| token.text.as_str())
            .collect();
        assert_eq!(texts.len(), vocab.tokens.len());
    }
}
