//! The table of exit codes, and the advice for each failure.

use std::{io, process::ExitCode};

use llorch_client::{ClientError, ErrorCode};

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $meaning:literal;)*) => {
        /// How the program ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Exit {$($(#[$doc])* $name,)*}

        impl Exit {
            /// All exits, ordered by code.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The exit code of the process.
            pub(crate) const fn code(self) -> u8 {
                match self {$(Self::$name => $code,)*}
            }

            /// The meaning in the help text.
            pub(crate) const fn meaning(self) -> &'static str {
                match self {$(Self::$name => $meaning,)*}
            }
        }
    };
}

exits! {
    /// Success.
    Ok = 0, "success; also when the reader of the output closed it early";
    /// A failure without a code of its own.
    Failed = 1, "failure: the server refused, or an answer broke off";
    /// The command line or a setting is wrong.
    Usage = 2, "a wrong argument, setting or config file, or no terminal where one is needed";
    /// The server cannot be reached.
    Unreachable = 3, "the server cannot be reached, or does not answer";
    /// The server refuses the token.
    Unauthorized = 4, "the token is missing, wrong, or not allowed to do this";
    /// The resource does not exist.
    NotFound = 5, "no such node, pool, model, task or route";
    /// The request cannot be served now.
    Unavailable = 6, "unavailable now: all slots are in use, or no endpoint is reachable; try \
     again";
    /// A deadline passed.
    DeadlineExceeded = 7, "a deadline passed";
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

/// The table in the help text.
pub(crate) fn table() -> String {
    let line = |exit: &Exit| format!("  {:<4} {}\n", exit.code(), exit.meaning());
    let lines: String = Exit::ALL.iter().map(line).collect();
    format!("Exit codes:\n{lines}")
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The reader of standard output has closed it.
    OutputClosed,
    /// A request failed.
    Client(ClientError),
    /// Another failure; the text says what to do.
    Message(Exit, String),
    /// The failure is already printed.
    Reported(Exit),
}

/// The result of a command.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// A wrong argument, setting or file.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Message(Exit::Usage, message.into())
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
            Self::OutputClosed
        } else {
            Self::Message(Exit::Failed, error.to_string())
        }
    }
}

/// The exit of a failed request, and what the user can do.
pub(crate) fn advice_for(error: &ClientError, has_token: bool) -> (Exit, String) {
    match error {
        ClientError::InvalidRequest { .. } => (Exit::Usage, String::new()),
        ClientError::Unreachable { .. } => (
            Exit::Unreachable,
            "is orchestratord running there? --url, LLORCH_URL or the config file sets the URL"
                .to_owned(),
        ),
        ClientError::LocalLimit { .. } => (
            Exit::Failed,
            "raise the limit of open files (ulimit -n)".to_owned(),
        ),
        ClientError::Timeout { .. } => (Exit::Unreachable, "try again, or read its log".to_owned()),
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
                    "`llorch token check` shows where the token comes from".to_owned(),
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
                (504, _) => (Exit::DeadlineExceeded, String::new()),
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
    fn codes_are_ordered_and_in_the_readme() {
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
    fn each_refusal_has_an_exit() {
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
            (refused(504, "DEADLINE_EXCEEDED"), Exit::DeadlineExceeded),
            // An error in a stream has a code and no status.
            (refused(0, "POOL_UNAVAILABLE"), Exit::Unavailable),
            (refused(0, "WORKER_RESET"), Exit::Failed),
            (refused(400, "INVALID_REQUEST"), Exit::Failed),
        ] {
            assert_eq!(advice_for(&error, false).0, exit, "{error:?}");
        }
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::from(gone), Failure::OutputClosed));
    }
}
