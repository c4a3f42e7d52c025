//! What a client of a contender needs beside its address: a CA to trust, or a token.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use bearer_auth::AccessToken;
use test_certificates::{Authority, Files};
use test_cluster::Daemon;

/// The names of the servers: `load-gen` and the daemons call them by one of these.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// What a client needs. Without either, plain HTTP from the same machine is answered.
#[derive(Debug, Default)]
pub(crate) struct Access {
    ca_file: Option<PathBuf>,
    key: Option<Key>,
}

/// A key, as its holder and as the server know it.
#[derive(Debug)]
struct Key {
    token_file: PathBuf,
    keys_file: PathBuf,
}

impl Access {
    /// The same certificate for all servers of a contender, and the CA that issued it.
    pub(super) fn over_tls(directory: &Path) -> Result<(Self, Files)> {
        let ca = Authority::new()?;
        let ca_file = directory.join("ca.pem");
        fs::write(&ca_file, ca.certificate())?;
        let files = ca.issue(&NAMES)?.write(directory)?;
        let access = Self {
            ca_file: Some(ca_file),
            key: None,
        };
        Ok((access, files))
    }

    /// A key with every limit, none of which is reached.
    pub(super) fn with_key(directory: &Path) -> Result<Self> {
        let token = AccessToken::generate()?;
        let key = Key {
            token_file: directory.join("token"),
            keys_file: directory.join("keys.toml"),
        };
        fs::write(&key.token_file, token.reveal())?;
        let text = format!(
            "[[key]]\nname = \"bench\"\ntoken = \"{}\"\nscopes = [\"client\"]\n\
             [key.limits]\nmodels = [\"tiny\"]\nrequests_per_minute = 1000000\n\
             tokens_per_minute = 1000000000\ntokens_per_day = 1000000000000\n\
             concurrent_requests = 10000\nweight = 2\n",
            token.reveal()
        );
        test_certificates::replace(&key.keys_file, &text)?;
        Ok(Self {
            ca_file: None,
            key: Some(key),
        })
    }

    /// The options of `load-gen` for it.
    pub(crate) fn options(&self) -> Vec<String> {
        let options = [
            ("--tls-ca", self.ca_file.as_ref()),
            ("--token-file", self.key.as_ref().map(|key| &key.token_file)),
        ];
        options
            .into_iter()
            .filter_map(|(name, file)| Some([name.to_owned(), file?.display().to_string()]))
            .flatten()
            .collect()
    }

    /// Tells a daemon whose settings begin with `prefix` about it.
    pub(super) fn apply(&self, daemon: &mut Daemon, prefix: &str, tls: Option<&Files>) {
        let settings = [
            ("TLS_CERT_FILE", tls.map(|files| &files.certificate)),
            ("TLS_KEY_FILE", tls.map(|files| &files.key)),
            ("TLS_CA_FILE", self.ca_file.as_ref()),
            ("KEYS_FILE", self.key.as_ref().map(|key| &key.keys_file)),
        ];
        for (name, file) in settings {
            if let Some(file) = file {
                daemon.set(&format!("{prefix}{name}"), &file.display().to_string());
            }
        }
    }
}
