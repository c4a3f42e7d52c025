//! Reads settings from the environment, and collects every problem.

use std::collections::BTreeMap;

use service_runtime::env::{Environment, Problems};

use crate::{program::Program, setting::Setting};

/// Reads the settings of a program. A bad value is noted and its default returned, so that the
/// next setting is read too; [`finish`](Self::finish) returns all problems together.
#[derive(Debug)]
pub struct SettingsReader {
    prefix: &'static str,
    /// By the names of the variables, in lower case as envy gives them.
    values: BTreeMap<String, String>,
    problems: Problems,
}

impl SettingsReader {
    /// Reads the settings of `program` from `environment`.
    #[must_use]
    pub fn new(program: &Program, environment: Environment) -> Self {
        let mut problems = Problems::default();
        Self {
            prefix: program.prefix,
            values: environment.into_raw(&mut problems),
            problems,
        }
    }

    /// The value of `setting`, or its default.
    pub fn read<T>(&mut self, setting: &Setting<T>) -> T {
        let name = setting.variable(self.prefix);
        let text = self.values.get(&name.to_ascii_lowercase()).cloned();
        setting.parse(&name, text, &mut self.problems)
    }

    /// Whether the variable of `setting` is set.
    #[must_use]
    pub fn is_set<T>(&self, setting: &Setting<T>) -> bool {
        let name = setting.variable(self.prefix).to_ascii_lowercase();
        self.values.contains_key(&name)
    }

    /// The full name of the variable of `setting`.
    #[must_use]
    pub fn variable<T>(&self, setting: &Setting<T>) -> String {
        setting.variable(self.prefix)
    }

    /// Notes that `setting` is wrong. `text` says what is right, and holds no secret.
    pub fn problem<T>(&mut self, setting: &Setting<T>, text: impl Into<String>) {
        self.problems.add(setting.variable(self.prefix), text);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All problems, when there is any.
    pub fn finish(self) -> Result<(), Problems> {
        self.problems.finish()
    }
}
