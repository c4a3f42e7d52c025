//! The description of a daemon.

use std::{
    io::{self, Write as _},
    iter,
    net::SocketAddr,
    process::ExitCode,
};

use pool_registry_types::limits::Limit;
use service_runtime::{
    EXIT_SECOND_SIGNAL,
    env::{EXIT_BAD_CONFIGURATION, Environment},
};

use crate::{
    common::COMMON,
    help::{rows, sources},
    setting::{DescribeSetting, Setting, SettingDescription},
};

/// Describes a daemon to [`main`](crate::main).
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name of its binary, for logs and metrics.
    pub name: &'static str,
    /// Its version; `env!("CARGO_PKG_VERSION")` of the binary, not of a library.
    pub version: &'static str,
    /// A short description, which stands after its name.
    pub title: &'static str,
    /// The paragraph of `--help` before the settings.
    pub about: &'static str,
    /// Its listen address.
    pub address: &'static Setting<SocketAddr>,
    /// The settings that it has beside the common ones.
    pub settings: &'static [&'static dyn DescribeSetting],
    /// The paragraph of `--help` after the settings.
    pub ending: &'static str,
    /// The beginning of the names of its own variables, such as `"DEMO_"`.
    pub prefix: &'static str,
    /// Its OpenAPI document, as JSON.
    pub openapi: fn() -> String,
    /// The bounds that its peers can meet, by crate.
    pub limits: &'static [&'static [(&'static str, &'static [Limit])]],
    /// Its settings that have no effect in the CLOUD profile (`true`) or the HOME profile.
    pub unused_in_profile: fn(bool) -> &'static [&'static dyn DescribeSetting],
}

/// The directory of the configuration files.
const CONFIGURATION_DIRECTORY: &str = "/etc/llorch";

/// The revision that a release is built from; see `ci/deploy/release`.
const REVISION: Option<&str> = option_env!("LLORCH_REVISION");

impl Program {
    /// All its settings, described: the listen address, its own, and the common ones.
    pub(crate) fn settings(&self) -> Vec<SettingDescription> {
        let address: &dyn DescribeSetting = self.address;
        iter::once(address)
            .chain(self.settings.iter().copied())
            .chain(COMMON.iter().copied())
            .map(|setting| setting.describe(self.prefix))
            .collect()
    }

    /// The variables of its settings, as they are now. It sees no other variable, so a setting
    /// without a row has no effect.
    pub(crate) fn environment(&self) -> Environment {
        let settings = self.settings();
        let names: Vec<&str> = settings
            .iter()
            .map(|setting| setting.name.as_str())
            .collect();
        Environment::from_process(&names)
    }

    /// Where its configuration file is, if no argument names one.
    pub(crate) fn usual_file(&self) -> String {
        format!("{CONFIGURATION_DIRECTORY}/{}.toml", self.name)
    }

    /// What `--version` prints.
    pub(crate) fn version_line(&self) -> String {
        let revision = REVISION.map(|revision| format!(" ({revision})"));
        format!(
            "{} {}{}",
            self.name,
            self.version,
            revision.unwrap_or_default()
        )
    }

    /// What `--help` prints.
    pub(crate) fn help(&self) -> String {
        let Self {
            name,
            title,
            about,
            ending,
            ..
        } = self;
        let rows = rows(&self.settings());
        let sources = sources(self.prefix, &self.usual_file());
        format!(
            "{name}, {title}\n\nUsage: {name} [check [--json]] [--config FILE] [--SETTING \
             VALUE]...\n       {name} --help | --version | --settings | --openapi | \
             --limits\n\n{about}\n\n`check` checks everything that a start needs, says what is \
             wrong and how to fix it, and starts nothing.\n\n{sources}\n\n--settings prints the \
             settings for programs, --openapi prints the API, and --limits prints every \
             bound:\n\n{rows}\n{ending}\nExit codes: 0 stopped, 1 failed, or errors found by \
             `check`, {EXIT_BAD_CONFIGURATION} bad settings, {EXIT_SECOND_SIGNAL} second signal."
        )
    }

    /// A socket that was handed over has its address already. A setting with another address is a
    /// mistake: clients would look for the daemon at the wrong place. `shown` names the setting.
    pub(crate) fn settle_address(
        &self,
        environment: &mut Environment,
        addr: SocketAddr,
        shown: &str,
    ) -> Result<(), String> {
        let variable = self.address.variable(self.prefix);
        environment
            .settle(&variable, addr.to_string(), |before| {
                before.parse() == Ok(addr)
            })
            .map_err(|before| {
                format!(
                    "{shown} is {before:?}, but the service manager handed over a socket that \
                     listens on {addr}: change ListenStream= of the socket unit, or leave \
                     {variable} unset"
                )
            })
    }

    /// Refuses to start, with the reason on standard error.
    pub(crate) fn refuse(&self, reason: &str) -> ExitCode {
        let _ = writeln!(io::stderr(), "{}: {reason}", self.name);
        ExitCode::from(EXIT_BAD_CONFIGURATION)
    }
}
