//! How the program ends: the one table of exit codes, and what is said before.

use std::{io, process::ExitCode};

use llorch_client::ClientError;
use pool_registry_types::ErrorCode;

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $meaning:literal;)*) => {
        /// How the program ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Exit {$($(#[$doc])* $name,)*}

        impl Exit {
            /// Every exit, in order of the codes.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What the caller gets.
            pub(crate) const fn code(self) -> u8 {
                match self {$(Self::$name => $code,)*}
            }

            /// What it means, for people.
            pub(crate) const fn meaning(self) -> &'static str {
                match self {$(Self::$name => $meaning,)*}
            }
        }
    };
}

exits! {
    /// It worked.
    Ok = 0, "it worked; also when the reader of the output left early";
    /// It did not work, for a reason that has no code of its own.
    Failed = 1, "it did not work: the server refused, or an answer broke off";
    /// What was asked makes no sense.
    Usage = 2, "a wrong argument, setting or config file, or no terminal where one is needed";
    /// There is no server.
    Unreachable = 3, "the server cannot be reached, or does not answer";
    /// The server does not let us in.
    Unauthorized = 4, "the token is missing, wrong, or may not do this";
    /// There is no such thing.
    NotFound = 5, "no such node, pool, model, task or route";
    /// Not now.
    Unavailable = 6, "not now: every slot is taken, or what serves it is away; try again";
    /// It took too long.
    Late = 7, "a deadline passed first";
    /// Ctrl-C.
    Interrupted = 130, "Ctrl-C";
    /// SIGTERM or SIGHUP.
    Terminated = 143, "SIGTERM";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table, as `--help` shows it.
pub(crate) fn table() -> String {
    let line = |exit: &Exit| format!("  {:<4} {}\n", exit.code(), exit.meaning());
    let lines: String = Exit::ALL.iter().map(line).collect();
    format!("Exit codes:\n{lines}")
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever reads our output has enough of it.
    NobodyReads,
    /// A request came to nothing.
    Client(ClientError),
    /// Something else; the text says what to do.
    Told(Exit, String),
    /// All has been said already.
    Said(Exit),
}

/// What commands give back.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// An argument, setting or file is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Told(Exit::Usage, message.into())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::NobodyReads
        } else {
            Self::Told(Exit::Failed, error.to_string())
        }
    }
}

/// Which exit a failed request leads to, and what a person can do about it.
pub(crate) fn of_request(error: &ClientError, has_token: bool) -> (Exit, String) {
    match error {
        ClientError::Unreachable { .. } => (
            Exit::Unreachable,
            "is orchestratord running there? --url, LLORCH_URL or the config file says where"
                .to_owned(),
        ),
        ClientError::OwnLimit { .. } => (
            Exit::Failed,
            "raise the limit of open files (ulimit -n)".to_owned(),
        ),
        ClientError::Late { .. } => (
            Exit::Unreachable,
            "try again, or look at its log".to_owned(),
        ),
        ClientError::Refused {
            status,
            code,
            retry_after,
            ..
        } => {
            let code = ErrorCode::ALL.iter().find(|known| known.as_str() == code);
            let status = code.map_or(*status, |code| code.status());
            let again = || match retry_after {
                Some(after) => format!("try again in {:.1} s", after.as_secs_f64()),
                None => "try again later".to_owned(),
            };
            match (status, code) {
                (401, _) if has_token => (
                    Exit::Unauthorized,
                    "`llorch token check` says which token it was".to_owned(),
                ),
                (401, _) => (
                    Exit::Unauthorized,
                    "set LLORCH_API_TOKEN, or `token` in the config file".to_owned(),
                ),
                (403, _) => (Exit::Unauthorized, String::new()),
                (_, Some(ErrorCode::UnknownNode)) => {
                    (Exit::NotFound, "`llorch nodes` lists them".to_owned())
                }
                (_, Some(ErrorCode::ModelNotAvailable)) => {
                    (Exit::NotFound, "`llorch models` lists them".to_owned())
                }
                (404, _) => (Exit::NotFound, String::new()),
                (_, Some(ErrorCode::CloudProfileDisabled)) => (Exit::Failed, String::new()),
                (429 | 503, _) => (Exit::Unavailable, again()),
                (504, _) => (Exit::Late, String::new()),
                _ => (Exit::Failed, String::new()),
            }
        }
        _ => (Exit::Failed, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLI-1
    #[test]
    fn codes_rise_and_the_readme_lists_them() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        let readme = include_str!("../README.md");
        for exit in Exit::ALL {
            let line = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(readme.contains(&line), "the README has no line {line}");
        }
    }

    // spec: CLI-1
    #[test]
    fn each_refusal_has_its_exit() {
        let refused = |status, code: &str| ClientError::Refused {
            status,
            code: code.to_owned(),
            message: "m".to_owned(),
            retry_after: None,
        };
        for (error, exit) in [
            (refused(401, "UNAUTHORIZED"), Exit::Unauthorized),
            (refused(403, "FORBIDDEN"), Exit::Unauthorized),
            (refused(404, "UNKNOWN_NODE"), Exit::NotFound),
            (refused(404, ""), Exit::NotFound),
            (refused(429, "QUEUE_FULL"), Exit::Unavailable),
            (refused(503, "SHUTTING_DOWN"), Exit::Unavailable),
            (refused(503, "CLOUD_PROFILE_DISABLED"), Exit::Failed),
            (refused(504, "DEADLINE_EXCEEDED"), Exit::Late),
            // In a stream there is no status, but a code.
            (refused(0, "POOL_UNAVAILABLE"), Exit::Unavailable),
            (refused(0, "WORKER_RESET"), Exit::Failed),
            (refused(400, "INVALID_REQUEST"), Exit::Failed),
        ] {
            assert_eq!(of_request(&error, false).0, exit, "{error:?}");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure_to_talk_about() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::from(gone), Failure::NobodyReads));
    }
}
