//! The tiny model's weights: random layers between an embedding and an output that know what comes
//! next.
//!
//! The hidden state of the last token is mostly its own embedding, because the layers' random
//! weights are small. The output row of a word is the sum of the embeddings of all tokens it shall
//! follow; the embeddings are random vectors of ±1 and thus nearly orthogonal, so the successor's
//! row wins by far. Channel 0 of every embedding is 1 and no layer writes to it: a large negative
//! weight there silences every token that is not a word, and the output is always clean ASCII.

use sha2::{Digest, Sha256};

use super::{
    format::{Encoding, Tensor},
    random::SplitMix64,
    vocab::{END, Vocab},
};

pub(super) const LAYERS: u32 = 2;
pub(super) const HIDDEN: u32 = 64;
pub(super) const HEADS: u32 = 4;
pub(super) const KV_HEADS: u32 = 2;
const HEAD: u32 = HIDDEN / HEADS;

/// Width of the feed-forward layers without padding, and the step by which padding widens them.
const FEED_FORWARD: u32 = 128;
const FEED_FORWARD_STEP: u32 = 32;

/// Standard deviation of the layers' random weights: small against embeddings of ±1.
const SCALE: f32 = 0.02;
/// How far the right word's logit stands out; sampling at usual temperatures still picks it.
const SHARPNESS: f32 = 0.30;
/// Weight of a token that is no word in its successor's row: enough to win, too little to disturb
/// the chain.
const HASHED_WEIGHT: f32 = 0.25;
/// Logit weight of channel 0 for tokens that must never come.
const SILENCE: f32 = -30.0;

const HALF_BYTES: u64 = 2;
const MIB: u64 = 1024 * 1024;

/// Everything the tensors are made of.
pub(super) struct Weights {
    embeddings: Vec<[f32; HIDDEN as usize]>,
    outputs: Vec<[f32; HIDDEN as usize]>,
    feed_forward: u32,
    seed: u64,
}

impl Weights {
    pub(super) fn new(vocab: &Vocab, eos_after: Option<u32>, pad_mb: u32, seed: u64) -> Self {
        let embeddings = embeddings(vocab, seed);
        let outputs = outputs(vocab, &embeddings, eos_after);
        Self {
            embeddings,
            outputs,
            feed_forward: feed_forward(pad_mb),
            seed,
        }
    }

    pub(super) fn feed_forward(&self) -> u32 {
        self.feed_forward
    }

    /// All tensors in the file's order.
    pub(super) fn tensors(&self) -> Vec<Tensor<'_>> {
        let mut tensors = vec![
            table("token_embd.weight", &self.embeddings),
            ones("output_norm.weight".to_owned()),
            table("output.weight", &self.outputs),
        ];
        for layer in 0..LAYERS {
            self.layer(layer, &mut tensors);
        }
        tensors
    }

    fn layer(&self, layer: u32, tensors: &mut Vec<Tensor<'_>>) {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let wide = self.feed_forward;
        // Wider layers add up more numbers; smaller ones keep the sum as it was.
        let down = SCALE * (FEED_FORWARD as f32 / wide as f32).sqrt();
        tensors.push(ones(name("attn_norm")));
        tensors.push(ones(name("ffn_norm")));
        for (part, rows, columns, scale, writes) in [
            ("attn_q", HIDDEN, HIDDEN, SCALE, false),
            ("attn_k", HEAD * KV_HEADS, HIDDEN, SCALE, false),
            ("attn_v", HEAD * KV_HEADS, HIDDEN, SCALE, false),
            ("attn_output", HIDDEN, HIDDEN, SCALE, true),
            ("ffn_gate", wide, HIDDEN, SCALE, false),
            ("ffn_up", wide, HIDDEN, SCALE, false),
            ("ffn_down", HIDDEN, wide, down, true),
        ] {
            tensors.push(noise(name(part), self.seed, (rows, columns), scale, writes));
        }
    }
}

fn feed_forward(pad_mb: u32) -> u32 {
    // A unit of width costs a row of gate, one of up, and a column of down, in each layer.
    let bytes_a_unit = 3 * u64::from(HIDDEN) * u64::from(LAYERS) * HALF_BYTES;
    let units = (u64::from(pad_mb) * MIB)
        .div_ceil(bytes_a_unit)
        .next_multiple_of(u64::from(FEED_FORWARD_STEP));
    // Less than 2^32 MiB of padding are 2^42 units at most; wider than u32 no file system holds it
    // anyway.
    FEED_FORWARD.saturating_add(u32::try_from(units).unwrap_or(u32::MAX - FEED_FORWARD))
}

fn embeddings(vocab: &Vocab, seed: u64) -> Vec<[f32; HIDDEN as usize]> {
    let mut random = SplitMix64::new(seed);
    let mut row = || {
        let mut row: [f32; HIDDEN as usize] = std::array::from_fn(|_| random.sign());
        row[0] = 1.0;
        row
    };
    vocab.tokens.iter().map(|_| row()).collect()
}

/// The token that comes after each token.
fn successors(vocab: &Vocab, eos_after: Option<u32>) -> Vec<u32> {
    let words = &vocab.words;
    let mut successors: Vec<u32> = vocab
        .tokens
        .iter()
        .map(|token| {
            let hash = Sha256::digest(token.text.as_bytes());
            words[usize::from(u16::from_be_bytes([hash[0], hash[1]])) % words.len()]
        })
        .collect();
    for (place, &word) in words.iter().enumerate() {
        successors[word as usize] = words[(place + 1) % words.len()];
    }
    // A chat starts at "one", so its n-th word is the one at index n.
    successors[vocab.assistant as usize] = words[1];
    if let Some(last) = eos_after {
        successors[words[last as usize] as usize] = END;
    }
    successors
}

fn outputs(
    vocab: &Vocab,
    embeddings: &[[f32; HIDDEN as usize]],
    eos_after: Option<u32>,
) -> Vec<[f32; HIDDEN as usize]> {
    let mut outputs = vec![[0.0; HIDDEN as usize]; embeddings.len()];
    let is_word = |token: u32| vocab.words.contains(&token);
    for (token, &successor) in (0..).zip(&successors(vocab, eos_after)) {
        let chained = is_word(token) || token == vocab.assistant;
        let weight = SHARPNESS * if chained { 1.0 } else { HASHED_WEIGHT };
        for (sum, part) in outputs[successor as usize]
            .iter_mut()
            .zip(&embeddings[token as usize])
        {
            *sum += weight * part;
        }
    }
    for (token, row) in (0..).zip(&mut outputs) {
        let allowed = is_word(token) || token == END && eos_after.is_some();
        row[0] = if allowed { 0.0 } else { SILENCE };
    }
    outputs
}

fn table<'a>(name: &str, rows: &'a [[f32; HIDDEN as usize]]) -> Tensor<'a> {
    Tensor {
        name: name.to_owned(),
        encoding: Encoding::F16,
        columns: HIDDEN,
        // As many rows as the vocabulary has tokens.
        rows: Some(rows.len() as u32),
        fill: Box::new(|index, row| row.copy_from_slice(&rows[index as usize])),
    }
}

fn ones(name: String) -> Tensor<'static> {
    Tensor {
        name,
        encoding: Encoding::F32,
        columns: HIDDEN,
        rows: None,
        fill: Box::new(|_, row| row.fill(1.0)),
    }
}

/// Small random numbers. When the tensor writes to the hidden state, its row 0 is zero: channel 0
/// stays constant.
fn noise(
    name: String,
    seed: u64,
    (rows, columns): (u32, u32),
    scale: f32,
    writes: bool,
) -> Tensor<'static> {
    // Its own stream for each tensor, so that one tensor's size does not change the next one's
    // numbers.
    let hash = Sha256::digest(name.as_bytes());
    let stream = hash[..8]
        .iter()
        .fold(0, |stream, &byte| stream << 8 | u64::from(byte));
    let mut random = SplitMix64::new(seed ^ stream);
    Tensor {
        name,
        encoding: Encoding::F16,
        columns,
        rows: Some(rows),
        fill: Box::new(move |index, row| {
            if writes && index == 0 {
                row.fill(0.0);
            } else {
                row.fill_with(|| random.normal() * scale);
            }
        }),
    }
}
