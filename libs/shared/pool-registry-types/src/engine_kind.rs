//! Kinds of inference engines: their names, and how people spell them.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::id::{IdError, check_id};

/// A kind of engine that this project knows how to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KnownEngine {
    /// `llama-server` of llama.cpp.
    LlamaCpp,
    /// The Python server of llama-cpp-python.
    LlamaCppPython,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Ollama.
    Ollama,
    /// Hugging Face's text-generation-inference.
    Tgi,
    /// LM Studio.
    LmStudio,
    /// LocalAI.
    LocalAi,
    /// Any other engine with the OpenAI API.
    OpenAi,
}

/// What is known of a kind without asking it.
struct Row {
    kind: KnownEngine,
    name: &'static str,
    /// Other spellings, as [`folded`] leaves them.
    spellings: &'static [&'static str],
}

const ROWS: [Row; 9] = [
    Row {
        kind: KnownEngine::LlamaCpp,
        name: "llamacpp",
        spellings: &["llama", "llamaserver", "llamacppserver"],
    },
    Row {
        kind: KnownEngine::LlamaCppPython,
        name: "llama-cpp-python",
        spellings: &["llamacpppython", "llamacpppy"],
    },
    Row {
        kind: KnownEngine::Vllm,
        name: "vllm",
        spellings: &["vllmopenai", "vllmcpu"],
    },
    Row {
        kind: KnownEngine::Sglang,
        name: "sglang",
        spellings: &["sgl", "sglangrouter", "srt"],
    },
    Row {
        kind: KnownEngine::Ollama,
        name: "ollama",
        spellings: &[],
    },
    Row {
        kind: KnownEngine::Tgi,
        name: "tgi",
        spellings: &["textgenerationinference", "huggingfacetgi", "hftgi"],
    },
    Row {
        kind: KnownEngine::LmStudio,
        name: "lmstudio",
        spellings: &["lms"],
    },
    Row {
        kind: KnownEngine::LocalAi,
        name: "localai",
        spellings: &[],
    },
    Row {
        kind: KnownEngine::OpenAi,
        name: "openai",
        spellings: &["openaicompatible", "openaiapi", "generic"],
    },
];

impl KnownEngine {
    /// Every kind, in the order of the documents.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.kind)
    }

    /// Its name in handoffs and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The names of all kinds, for people: `llamacpp, llama-cpp-python, …`.
    #[must_use]
    pub fn names() -> String {
        ROWS.map(|row| row.name).join(", ")
    }

    fn row(self) -> &'static Row {
        // Every kind has a row; a test compares them.
        const OPEN_AI: &Row = &ROWS[8];
        ROWS.iter().find(|row| row.kind == self).unwrap_or(OPEN_AI)
    }

    fn of(name: &str) -> Option<Self> {
        let folded = folded(name);
        let row = ROWS.iter().find(|row| {
            row.name == name
                || self::folded(row.name) == folded
                || row.spellings.contains(&folded.as_str())
        });
        row.map(|row| row.kind)
    }
}

/// `name` in lower case and without punctuation: `llama.cpp`, `llama-cpp` and `LlamaCpp` are one.
fn folded(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

/// The kind of an inference engine: `llamacpp`, `vllm`, or any other name.
///
/// Every spelling of a kind that this project knows becomes its name, so equal kinds are equal:
/// `llama.cpp`, `llama-server` and `LlamaCpp` are `llamacpp`. Any other name of 1 to 128 characters
/// of `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit, stays as it is. Cloning is cheap.
///
/// ```
/// use pool_registry_types::{EngineKind, KnownEngine};
/// let kind = EngineKind::new("llama.cpp").unwrap();
/// assert_eq!((kind.as_str(), kind.known()), ("llamacpp", Some(KnownEngine::LlamaCpp)));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EngineKind {
    name: Arc<str>,
    known: Option<KnownEngine>,
}

impl EngineKind {
    /// Checks `value` and makes it a kind.
    ///
    /// # Errors
    /// When `value` is not of the form above; the error names the field.
    pub fn new(value: &str) -> Result<Self, IdError> {
        check_id("engine", value)?;
        let known = KnownEngine::of(value);
        let name = Arc::from(known.map_or(value, |known| known.name()));
        Ok(Self { name, known })
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Which of the known kinds it is; `None` for any other name.
    #[must_use]
    pub fn known(&self) -> Option<KnownEngine> {
        self.known
    }
}

impl From<KnownEngine> for EngineKind {
    fn from(known: KnownEngine) -> Self {
        let (name, known) = (Arc::from(known.name()), Some(known));
        Self { name, known }
    }
}

impl FromStr for EngineKind {
    type Err = IdError;

    fn from_str(value: &str) -> Result<Self, IdError> {
        Self::new(value)
    }
}

impl TryFrom<String> for EngineKind {
    type Error = IdError;

    fn try_from(value: String) -> Result<Self, IdError> {
        Self::new(&value)
    }
}

impl From<EngineKind> for String {
    fn from(kind: EngineKind) -> String {
        kind.as_str().to_owned()
    }
}

impl Borrow<str> for EngineKind {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // spec: WIRE-43
    #[test]
    fn every_known_spelling_becomes_the_name_of_its_kind() {
        for (spelling, name) in [
            ("llamacpp", "llamacpp"),
            ("llama.cpp", "llamacpp"),
            ("llama-cpp", "llamacpp"),
            ("llama_cpp", "llamacpp"),
            ("LlamaCpp", "llamacpp"),
            ("llama-server", "llamacpp"),
            ("llama-cpp-python", "llama-cpp-python"),
            ("llama_cpp_python", "llama-cpp-python"),
            ("vLLM", "vllm"),
            ("SGLang", "sglang"),
            ("Ollama", "ollama"),
            ("TGI", "tgi"),
            ("text-generation-inference", "tgi"),
            ("LM-Studio", "lmstudio"),
            ("LocalAI", "localai"),
            ("OpenAI", "openai"),
            ("openai-compatible", "openai"),
        ] {
            let kind = EngineKind::new(spelling).unwrap();
            assert_eq!(kind.as_str(), name, "{spelling}");
            assert_eq!(kind.known().unwrap().name(), name, "{spelling}");
            assert_eq!(kind, kind.known().unwrap().into(), "{spelling}");
        }
    }

    // spec: WIRE-43
    #[test]
    fn any_other_name_stays_as_it_is() {
        for name in ["trtllm", "Home-Made", "llama.cp", "x"] {
            let kind = EngineKind::new(name).unwrap();
            assert_eq!((kind.as_str(), kind.known()), (name, None));
        }
        for bad in ["", "llama cpp", "-vllm", "a/b"] {
            let error = EngineKind::new(bad).unwrap_err().to_string();
            assert!(error.starts_with("engine must be"), "{error}");
        }
    }

    #[test]
    fn each_kind_has_one_row_and_no_spelling_means_two() {
        let names: BTreeSet<_> = KnownEngine::all().map(KnownEngine::name).collect();
        assert_eq!(names.len(), ROWS.len());
        let mut seen = BTreeSet::new();
        for row in &ROWS {
            assert_eq!(row.kind.name(), row.name);
            for spelling in row.spellings {
                assert_eq!(folded(spelling), *spelling);
                assert!(seen.insert(spelling), "{spelling}");
            }
        }
        assert!(KnownEngine::names().starts_with("llamacpp, llama-cpp-python, vllm"));
    }
}
