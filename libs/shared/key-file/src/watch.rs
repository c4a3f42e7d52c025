//! The file itself, and how its changes are followed.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bearer_auth::{AuthPolicy, Credential, KeySource};
use service_runtime::Shutdown;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    limits::MAX_KEYS_FILE_BYTES,
    parse::{KeyFileProblem, parse},
};

/// How often the file is looked at. A change counts when two looks find the same, so it takes
/// effect within a second, on a busy machine too. Secrets are often mounted as links that are
/// swapped, which tells no watcher of the file.
const PERIOD: Duration = Duration::from_millis(250);

/// The mode bit that lets every user of the machine write a file.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key file {file} cannot be read: {source}")]
    Unreadable {
        /// The path.
        file: String,
        /// The cause.
        source: io::Error,
    },
    /// It is too large.
    #[error("the key file {file} has more than {MAX_KEYS_FILE_BYTES} bytes")]
    TooLarge {
        /// The path.
        file: String,
    },
    /// It is wrong.
    #[error("the key file {file}, {problem}")]
    Wrong {
        /// The path.
        file: String,
        /// The line and field.
        problem: KeyFileProblem,
    },
}

/// A file of keys that is followed.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    /// The hash of the text that was read last, whether it was good or not. Times of files are too
    /// coarse to tell two changes apart.
    seen: Option<u64>,
    /// The hash of another text, at the last look. Some tools empty a file and then write it: what
    /// they have written so far does not count.
    unsettled: Option<u64>,
    key: RandomState,
    /// Whether the log has said that the file cannot be read.
    is_reported: bool,
}

impl KeyFile {
    /// Reads the file for the first time, and publishes its keys to `policy`.
    ///
    /// # Errors
    /// When it cannot be read or is wrong.
    pub fn open(path: PathBuf, policy: &AuthPolicy) -> Result<Self, KeyFileError> {
        let key = RandomState::new();
        let text = read(&path)?;
        if std::fs::metadata(&path).is_ok_and(|found| found.mode() & WRITABLE_BY_OTHERS != 0) {
            tracing::warn!(
                file = %path.display(),
                "every user of this machine can write the key file, and so make keys; run chmod o-w"
            );
        }
        policy.replace_keys(KeySource::File, keys_of(&path, &text)?);
        Ok(Self {
            path,
            seen: Some(key.hash_one(&text)),
            unsettled: None,
            key,
            is_reported: false,
        })
    }

    /// Follows the changes of the file until `stop` is requested.
    pub async fn follow(mut self, policy: AuthPolicy, stop: Shutdown) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.requested() => return,
                _ = ticks.tick() => {}
            }
            let policy = policy.clone();
            let work = tokio::task::spawn_blocking(move || {
                self.look(&policy);
                self
            });
            match work.await {
                Ok(file) => self = file,
                Err(error) => {
                    tracing::error!(%error, "the key file is not followed any more");
                    return;
                }
            }
        }
    }

    /// Reads the file again. A broken one changes nothing.
    fn look(&mut self, policy: &AuthPolicy) {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                if !self.is_reported {
                    tracing::warn!("{error}; the keys of the last good file stay valid");
                }
                self.is_reported = true;
                self.seen = None;
                return;
            }
        };
        self.is_reported = false;
        let hash = Some(self.key.hash_one(&text));
        if self.seen == hash {
            self.unsettled = None;
            return;
        }
        if self.unsettled.take() != hash {
            self.unsettled = hash;
            return;
        }
        self.seen = hash;
        match keys_of(&self.path, &text) {
            Ok(keys) => {
                tracing::info!(file = %self.path.display(), keys = keys.len(), "keys read again");
                policy.replace_keys(KeySource::File, keys);
            }
            Err(error) => tracing::warn!("{error}; the keys of the last good file stay valid"),
        }
    }
}

/// The text of the file. Its memory is not cleared: who writes tokens instead of digests into a
/// file has them on a disk too.
fn read(path: &Path) -> Result<String, KeyFileError> {
    let file = || path.display().to_string();
    let text = state_file::read_plain_text(path, MAX_KEYS_FILE_BYTES).map_err(|source| {
        KeyFileError::Unreadable {
            file: file(),
            source,
        }
    })?;
    text.ok_or_else(|| KeyFileError::TooLarge { file: file() })
}

fn keys_of(path: &Path, text: &str) -> Result<Vec<Credential>, KeyFileError> {
    parse(text).map_err(|problem| KeyFileError::Wrong {
        file: path.display().to_string(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use bearer_auth::{AccessToken, AuthError, Principal};
    use http::{HeaderMap, header::AUTHORIZATION};
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn ask(policy: &AuthPolicy, token: &AccessToken) -> Result<Principal, AuthError> {
        let value = format!("Bearer {}", token.reveal()).parse().unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        policy.authorize([192, 168, 1, 7].into(), &headers, SystemTime::now())
    }

    fn file_of(token: &AccessToken) -> String {
        let digest = token.digest().to_hex();
        format!("[[key]]\nname = \"a\"\ntoken_sha256 = \"{digest}\"\nscopes = [\"client\"]\n")
    }

    /// Replaces the file as tools do.
    fn replace(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    // spec: AUTH-40, AUTH-41, AUTH-66
    #[test]
    fn a_broken_file_keeps_the_last_good_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.toml");
        let [first, second] = [(); 2].map(|()| AccessToken::generate().unwrap());
        fs::write(&path, file_of(&first)).unwrap();
        let policy = AuthPolicy::with_keys_only(None);
        let mut file = KeyFile::open(path.clone(), &policy).unwrap();
        assert!(ask(&policy, &first).is_ok());

        let log = captured_log::Log::of(|| {
            replace(&path, "[[key]]\nname = 7\n");
            file.look(&policy);
            file.look(&policy);
            file.look(&policy);
            fs::remove_file(&path).unwrap();
            file.look(&policy);
            file.look(&policy);
        });
        assert_eq!(
            log.matches("line 2: name: must be a text").count(),
            1,
            "{log}"
        );
        assert_eq!(log.matches("cannot be read").count(), 1, "{log}");
        assert_eq!(log.lines().count(), 2, "{log}");
        assert!(ask(&policy, &first).is_ok());

        replace(&path, &file_of(&second));
        file.look(&policy);
        // It may be a part of what is being written.
        assert!(ask(&policy, &first).is_ok());
        replace(&path, "");
        file.look(&policy);
        replace(&path, &file_of(&second));
        file.look(&policy);
        assert!(ask(&policy, &first).is_ok());
        file.look(&policy);
        assert_eq!(ask(&policy, &first), Err(AuthError::WrongToken));
        assert!(ask(&policy, &second).is_ok());
        // An empty file has no keys, and opens nothing.
        replace(&path, "");
        file.look(&policy);
        file.look(&policy);
        assert!(ask(&policy, &second).is_err());

        // A pipe in its place is not waited for.
        fs::remove_file(&path).unwrap();
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let log = captured_log::Log::of(|| file.look(&policy));
        assert!(log.contains("it is no plain file"), "{log}");

        replace(&path, "x");
        assert!(KeyFile::open(path, &policy).is_err());
    }

    // spec: AUTH-40
    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_within_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.toml");
        let [first, second] = [(); 2].map(|()| AccessToken::generate().unwrap());
        fs::write(&path, file_of(&first)).unwrap();
        let policy = AuthPolicy::with_keys_only(None);
        let file = KeyFile::open(path.clone(), &policy).unwrap();
        let stop = Shutdown::new();
        let follows = file.follow(policy.clone(), stop.clone());
        let changes = async {
            replace(&path, &file_of(&second));
            let began = tokio::time::Instant::now();
            while ask(&policy, &second).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(began.elapsed() < Duration::from_secs(1));
            stop.request();
        };
        tokio::join!(follows, changes);
    }
}
