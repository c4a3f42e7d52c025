//! A tiny language model for tests and demos.
//!
//! [`TinyModel`] writes a llama-architecture GGUF file of about 350 kB that a real `llama-server`
//! loads in milliseconds and serves quickly on a CPU. Its weights are random except for one thing:
//! the output matrix is tied to the token embeddings through a table of successors, so greedy
//! output is a *predictable chain of words* on every machine. After `WORDS[i]` comes `WORDS[i +
//! 1]`, and after the last the first. A chat is always answered with " one two three …"; a
//! completion goes on from the prompt's last word. A test can therefore see whose answer it got,
//! count tokens exactly (a word is a token) and notice a lost or doubled one. The same options give
//! the same bytes, everywhere.

#![expect(
    clippy::cast_possible_truncation,
    reason = "counts and sizes of a model that is made of small constants; bits are cut off on \
              purpose"
)]

mod format;
mod half;
mod random;
mod vocab;
mod weights;

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use self::{
    format::{Tensor, Value, write_file},
    vocab::{BEGIN, END, UNKNOWN, Vocab},
    weights::{HEADS, HIDDEN, KV_HEADS, LAYERS, Weights},
};

pub use self::vocab::WORDS;

/// Prompt of a chat: each message's role token and text, then the assistant's role token.
const CHAT_TEMPLATE: &str = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] \
                             }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% \
                             endif %}";

/// The file type "mostly half precision" of the format.
const MOSTLY_F16: u32 = 1;

/// The options of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyModel {
    /// The name in the metadata.
    pub name: String,
    /// The context it claims to be trained for, in tokens: the longest prompt and answer together.
    pub ctx: u32,
    /// A chat's answer ends by itself after this many words; `None` never ends it.
    pub eos_after: Option<u32>,
    /// Extra weights in MiB, for a model that is slow to load and to compute with. About 60 make
    /// it read 300 prompt tokens a second on one core.
    pub pad_mb: u32,
    /// Seed of the random weights. It changes the bytes, not the answers.
    pub seed: u64,
}

impl Default for TinyModel {
    fn default() -> Self {
        Self {
            name: "tiny-chain".to_owned(),
            ctx: 8192,
            eos_after: None,
            pad_mb: 0,
            seed: 1,
        }
    }
}

impl TinyModel {
    /// Writes the model to the file `path`, replacing what was there only when it is complete.
    ///
    /// # Errors
    /// When an option is out of range or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let directory = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let temporary = tempfile::NamedTempFile::new_in(directory)
            .with_context(|| format!("cannot write to {}", directory.display()))?;
        let mut out = BufWriter::new(temporary);
        self.write_to(&mut out)?;
        let temporary = out.into_inner().context("cannot write the model")?;
        make_readable(temporary.as_file())?;
        temporary
            .persist(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// Writes the model to `out`.
    ///
    /// # Errors
    /// When an option is out of range or `out` cannot be written.
    pub fn write_to(&self, out: &mut impl Write) -> Result<()> {
        ensure!(self.ctx > 0, "the context must be at least 1 token");
        ensure!(
            self.eos_after
                .is_none_or(|words| words > 0 && (words as usize) < WORDS.len()),
            "an answer ends after 1 to {} words",
            WORDS.len() - 1
        );
        let vocab = Vocab::new();
        let weights = Weights::new(&vocab, self.eos_after, self.pad_mb, self.seed);
        let metadata = self.metadata(&vocab, weights.feed_forward());
        let mut tensors: Vec<Tensor<'_>> = weights.tensors();
        write_file(out, &metadata, &mut tensors).context("cannot write the model")
    }

    fn metadata<'a>(
        &'a self,
        vocab: &'a Vocab,
        feed_forward: u32,
    ) -> Vec<(&'static str, Value<'a>)> {
        let tokens = &vocab.tokens;
        vec![
            ("general.architecture", Value::Str("llama")),
            ("general.name", Value::Str(&self.name)),
            (
                "general.description",
                Value::Str("random tiny llama for tests"),
            ),
            ("general.file_type", Value::U32(MOSTLY_F16)),
            ("llama.context_length", Value::U32(self.ctx)),
            ("llama.embedding_length", Value::U32(HIDDEN)),
            ("llama.block_count", Value::U32(LAYERS)),
            ("llama.feed_forward_length", Value::U32(feed_forward)),
            ("llama.attention.head_count", Value::U32(HEADS)),
            ("llama.attention.head_count_kv", Value::U32(KV_HEADS)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", Value::U32(HIDDEN / HEADS)),
            ("llama.vocab_size", Value::U32(vocab.len())),
            ("tokenizer.ggml.model", Value::Str("llama")),
            ("tokenizer.ggml.pre", Value::Str("default")),
            (
                "tokenizer.ggml.tokens",
                Value::Strs(tokens.iter().map(|token| token.text.as_str()).collect()),
            ),
            (
                "tokenizer.ggml.scores",
                Value::F32s(tokens.iter().map(|token| token.score).collect()),
            ),
            (
                "tokenizer.ggml.token_type",
                Value::I32s(tokens.iter().map(|token| token.kind as i32).collect()),
            ),
            ("tokenizer.ggml.bos_token_id", Value::U32(BEGIN)),
            ("tokenizer.ggml.eos_token_id", Value::U32(END)),
            ("tokenizer.ggml.unknown_token_id", Value::U32(UNKNOWN)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
            ("tokenizer.ggml.add_eos_token", Value::Bool(false)),
            ("tokenizer.ggml.add_space_prefix", Value::Bool(true)),
            ("tokenizer.chat_template", Value::Str(CHAT_TEMPLATE)),
        ]
    }
}

/// Temporary files are private, but an engine may read the model as another user.
fn make_readable(file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .context("cannot set permissions")
}

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
