//! A parser for a few flags and values. A library would be the largest part of xtask's build.

use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

/// The words after the command's name. Each is taken once; [`Arguments::finish`] fails when one is
/// left.
#[derive(Debug, Clone)]
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self(words)
    }

    /// Whether the flag is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() < before
    }

    /// The word after `name`, when `name` is there.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(index) = self.0.iter().position(|word| word == name) else {
            return Ok(None);
        };
        self.0.remove(index);
        if index == self.0.len() {
            bail!("{name} needs a value");
        }
        let value = self.0.remove(index);
        value
            .parse()
            .map(Some)
            .map_err(|_| anyhow!("{name} {value}: not a valid value"))
    }

    /// The next word that does not begin with a dash.
    pub(crate) fn positional(&mut self) -> Option<String> {
        let index = self.0.iter().position(|word| !word.starts_with('-'))?;
        Some(self.0.remove(index))
    }

    /// Fails when a word is left.
    pub(crate) fn finish(self) -> Result<()> {
        match self.0.first() {
            Some(word) => bail!("{word}: not understood"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_flags_values_and_the_rest() {
        let words = ["out.gguf", "--ctx", "512", "--keep"]
            .map(str::to_owned)
            .to_vec();
        let mut arguments = Arguments::new(words);
        assert!(arguments.flag("--keep") && !arguments.flag("--check"));
        assert_eq!(arguments.value::<u32>("--ctx").unwrap(), Some(512));
        assert_eq!(arguments.value::<u32>("--seed").unwrap(), None);
        assert_eq!(arguments.positional().as_deref(), Some("out.gguf"));
        arguments.finish().unwrap();
    }

    #[test]
    fn says_what_is_wrong() {
        let arguments =
            |words: &[&str]| Arguments::new(words.iter().map(|&word| word.to_owned()).collect());
        let error = arguments(&["--ctx"]).value::<u32>("--ctx").unwrap_err();
        assert_eq!(error.to_string(), "--ctx needs a value");
        let error = arguments(&["--ctx", "many"])
            .value::<u32>("--ctx")
            .unwrap_err();
        assert_eq!(error.to_string(), "--ctx many: not a valid value");
        assert_eq!(
            arguments(&["--wat"]).finish().unwrap_err().to_string(),
            "--wat: not understood"
        );
    }
}
