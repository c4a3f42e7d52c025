//! Where settings come from: flags, then the environment, then the configuration file.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use service_runtime::env::{Environment, Problems};

use crate::{
    configuration_file::{self, FileAt, FileContent},
    flags::{Arguments, FlagValue},
    program::Program,
    report::Report,
    unused::names_in_process,
};

/// The sources of the settings of a process. They can be read again and again.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    program: &'static Program,
    file: FileAt,
    flags: Vec<FlagValue>,
    /// What is wrong with the flags.
    problems: Problems,
    /// The address of a socket that the service manager has handed over.
    inherited: Option<SocketAddr>,
}

/// What the sources say.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings, as variables.
    pub(crate) environment: Environment,
    /// Where a value comes from, by variable; those of the environment are not in it.
    pub(crate) places: BTreeMap<String, String>,
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// What is wrong with the file and the flags.
    pub(crate) problems: Problems,
    /// See [`FileContent::exposed`].
    pub(crate) exposed: Option<String>,
    /// Why the address contradicts the socket that the service manager has handed over.
    pub(crate) conflict: Option<String>,
}

impl Sources {
    pub(crate) fn new(program: &'static Program, arguments: &Arguments) -> Self {
        Self {
            program,
            file: match &arguments.config {
                Some(path) => FileAt::Named(path.clone()),
                None => FileAt::Usual(program.usual_file().into()),
            },
            flags: arguments.flags.clone(),
            problems: arguments.problems.clone(),
            inherited: None,
        }
    }

    /// With the address of a socket that the service manager has handed over.
    pub(crate) fn with_inherited(mut self, addr: Option<SocketAddr>) -> Self {
        self.inherited = addr;
        self
    }

    /// Reads all sources.
    pub(crate) fn load(&self) -> Loaded {
        let file = configuration_file::read(&self.file, &self.program.settings());
        let path = file.as_ref().map(|_| self.file.path().to_owned());
        let mut file = file.unwrap_or_default();
        let mut problems = self.problems.clone();
        problems.extend(file.problems, |_| true);
        file.problems = problems;
        let mut loaded = merge(self.program.environment(), &self.flags, file);
        loaded.file = path;
        if let Some(addr) = self.inherited {
            loaded.settle_address(self.program, addr);
        }
        loaded
    }
}

/// Puts the sources on top of each other.
fn merge(mut environment: Environment, flags: &[FlagValue], file: FileContent) -> Loaded {
    let mut places = BTreeMap::new();
    for value in file.values {
        if !environment.has(&value.variable) {
            environment.set(&value.variable, value.text);
            places.insert(value.variable, value.place);
        }
    }
    for value in flags {
        environment.set(&value.variable, &value.text);
        places.insert(value.variable.clone(), value.flag.clone());
    }
    Loaded {
        environment,
        places,
        file: None,
        problems: file.problems,
        exposed: file.exposed,
        conflict: None,
    }
}

impl Loaded {
    /// The configuration, or all problems of all sources, each at its place.
    pub(crate) fn configure<C>(
        &self,
        configure: impl FnOnce(Environment) -> Result<C, Problems>,
    ) -> Result<C, Problems> {
        let mut problems = self.problems.clone();
        let others = match configure(self.environment.clone()) {
            Ok(config) if problems.is_empty() => return Ok(config),
            Ok(_) => return Err(problems),
            Err(others) => others,
        };
        // A setting that is missing may be in the part of the file that is wrong.
        let is_sure = problems.is_empty();
        let mut found = Problems::default();
        found.extend(others, |name| is_sure || self.environment.has(name));
        problems.extend(found.at(|name| self.places.get(name).cloned()), |_| true);
        Err(problems)
    }

    fn settle_address(&mut self, program: &Program, addr: SocketAddr) {
        let variable = program.address.variable(program.prefix);
        let shown = self.places.get(&variable).unwrap_or(&variable);
        self.conflict = program
            .settle_address(&mut self.environment, addr, shown)
            .err();
    }

    /// The names of all variables of the process, and of the settings of the other sources.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = names_in_process();
        let others = self.places.keys().filter(|name| !names.contains(name));
        let others: Vec<String> = others.cloned().collect();
        names.extend(others);
        names
    }

    /// Reports what people ask about the sources: which file was read, and what it and the flags
    /// set. Without either it reports nothing.
    pub(crate) fn describe(&self, report: &mut Report) {
        if let Some(exposed) = &self.exposed {
            report.warning(
                "configuration file",
                exposed.as_str(),
                "run chmod o-r, and give the file to the group of the daemon",
            );
        }
        if let Some(path) = &self.file {
            report.ok("configuration file", path.display().to_string());
        }
        for (variable, place) in &self.places {
            report.ok(variable.as_str(), format!("set by {place}"));
        }
    }
}

#[cfg(test)]
mod tests;
