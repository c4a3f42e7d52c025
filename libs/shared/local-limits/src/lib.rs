//! Distinguishes a limit of this process from a failure of a peer.

mod episode;

use std::{error::Error, fs::File, io};

use rustix::io::Errno;

pub use episode::{Episode, Turn};

/// The system's errors when this process or this machine has run out of something that a
/// connection, a file or a process needs. None of them says anything about the peer.
const LOCAL: [Errno; 6] = [
    // Open files of the process.
    Errno::MFILE,
    // Open files of the machine.
    Errno::NFILE,
    // Memory for sockets.
    Errno::NOBUFS,
    Errno::NOMEM,
    // Local ports.
    Errno::ADDRNOTAVAIL,
    // Watches of epoll; of a file, space on the disk.
    Errno::NOSPC,
];

/// Whether `error`, or one of its causes, is a limit of this process or its machine.
#[must_use]
pub fn is_local_limit(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        next = match error.downcast_ref::<io::Error>() {
            Some(error) if is_local(error) => return true,
            // The source of an I/O error is the source of the inner error, so the inner error
            // itself would be skipped.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}

/// Whether this process can open one more file now.
///
/// A resolver hides the cause of its failure: without a descriptor it reports that it does not know
/// the name, or asks to try again. Call this after a failed lookup to distinguish the two, as far
/// as a later check can.
///
/// # Errors
/// The limit; [`is_local_limit`] is true for it.
pub fn spare_descriptor() -> io::Result<()> {
    match File::open("/dev/null") {
        Err(error) if is_local(&error) => Err(error),
        // Any other problem with this file says nothing about descriptors.
        _ => Ok(()),
    }
}

fn is_local(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| LOCAL.iter().any(|errno| errno.raw_os_error() == code))
}

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Wrapped(io::Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn system(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    // spec: PATH-41
    #[test]
    fn local_limits_are_distinguished_from_failures_of_a_peer() {
        for errno in LOCAL {
            assert!(is_local_limit(&system(errno)), "{errno:?}");
            assert!(
                is_local_limit(&Wrapped(system(errno))),
                "{errno:?} as a source"
            );
            let inside = io::Error::other(Wrapped(io::Error::other(system(errno))));
            assert!(is_local_limit(&inside), "{errno:?} inside other I/O errors");
        }
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::PIPE,
            Errno::ACCESS,
            Errno::NOENT,
        ] {
            assert!(!is_local_limit(&system(errno)), "{errno:?}");
            assert!(
                !is_local_limit(&io::Error::other(Wrapped(system(errno)))),
                "{errno:?}"
            );
        }
        assert!(!is_local_limit(&io::Error::from(io::ErrorKind::TimedOut)));
        spare_descriptor().unwrap();
    }
}
