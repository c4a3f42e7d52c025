//! TLS of the listen address: its settings, and the task that reads its files again.

use std::{path::PathBuf, time::Duration};

use http_server::PlainHttp;
use service_runtime::{Shutdown, Tasks};
use tls_config::{ClientTls, IdentityFiles, Reload, ServerFiles, ServerTls, TlsError, Trust};

use crate::{
    common::{
        ALLOW_PLAIN_HTTP, TLS_CA_FILE, TLS_CA_SHA256, TLS_CERT_FILE, TLS_CLIENT_CA_FILE,
        TLS_IDENTITY_FILE, TLS_KEY_FILE,
    },
    program::Program,
    reader::SettingsReader,
    report::Report,
    setting::Setting,
};

/// The pause between two looks at the files. A broken file is reported at the second look that
/// finds it, so within a second.
const RELOAD_INTERVAL: Duration = Duration::from_millis(400);

/// The TLS of the listen address.
#[derive(Debug, Clone)]
pub struct ListenTls {
    pub(crate) server: ServerTls,
    pub(crate) plain: PlainHttp,
    /// Whether clients may present certificates.
    pub(crate) takes_certificates: bool,
}

impl ListenTls {
    /// The files of the certificate.
    #[must_use]
    pub fn identity(&self) -> IdentityFiles {
        self.server.identity().clone()
    }

    /// Checks that the certificate is valid for `name`, by which clients know this server.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_name(&self, name: &str) -> Result<(), TlsError> {
        self.server.check_name(name)
    }
}

/// Reads the settings, and the files that they name.
pub(crate) fn read(reader: &mut SettingsReader) -> Option<ListenTls> {
    let certificate = reader.read(&TLS_CERT_FILE);
    let key = reader.read(&TLS_KEY_FILE);
    let client_ca = reader.read(&TLS_CLIENT_CA_FILE);
    let plain = if reader.read(&ALLOW_PLAIN_HTTP) {
        PlainHttp::FromAnywhere
    } else {
        PlainHttp::FromLoopback
    };
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, Some(_)) => {
            needs(reader, &TLS_CERT_FILE, &TLS_KEY_FILE);
            return None;
        }
        (Some(_), None) => {
            needs(reader, &TLS_KEY_FILE, &TLS_CERT_FILE);
            return None;
        }
        (None, None) => {
            if client_ca.is_some() {
                needs(reader, &TLS_CERT_FILE, &TLS_CLIENT_CA_FILE);
            }
            return None;
        }
    };
    let files = ServerFiles {
        identity: IdentityFiles { certificate, key },
        client_ca,
        name: None,
    };
    match ServerTls::load(files.clone()) {
        Ok(server) => Some(ListenTls {
            server,
            plain,
            takes_certificates: files.client_ca.is_some(),
        }),
        Err(error) => {
            reader.problem(setting_of(&files, &error), error.to_string());
            None
        }
    }
}

/// Reads which servers this daemon trusts.
pub(crate) fn read_client(reader: &mut SettingsReader) -> ClientTls {
    let file = reader.read(&TLS_CA_FILE);
    let identity = reader.read(&TLS_IDENTITY_FILE);
    let trust = match (file, reader.read(&TLS_CA_SHA256)) {
        (Some(_), Some(_)) => {
            let other = reader.variable(&TLS_CA_FILE);
            reader.problem(&TLS_CA_SHA256, format!("must not be set when {other} is"));
            return ClientTls::system();
        }
        (Some(file), None) => Trust::CaFile(file),
        (None, Some(fingerprint)) => Trust::Pinned(fingerprint),
        (None, None) if identity.is_none() => return ClientTls::system(),
        (None, None) => Trust::System,
    };
    let own = identity.clone().map(IdentityFiles::in_one);
    ClientTls::load(trust, own).unwrap_or_else(|error| {
        let wrong = if identity.as_ref() == Some(&error.file) {
            &TLS_IDENTITY_FILE
        } else {
            &TLS_CA_FILE
        };
        reader.problem(wrong, error.to_string());
        ClientTls::system()
    })
}

fn needs(
    reader: &mut SettingsReader,
    missing: &Setting<Option<PathBuf>>,
    set: &Setting<Option<PathBuf>>,
) {
    let set = reader.variable(set);
    reader.problem(missing, format!("must be set when {set} is"));
}

/// The setting whose file is wrong.
fn setting_of(files: &ServerFiles, error: &TlsError) -> &'static Setting<Option<PathBuf>> {
    if files.client_ca.as_ref() == Some(&error.file) {
        &TLS_CLIENT_CA_FILE
    } else if files.identity.key == error.file {
        &TLS_KEY_FILE
    } else {
        &TLS_CERT_FILE
    }
}

/// Reports that the files are right: with a wrong one there are no settings.
pub(crate) fn check(report: &mut Report, program: &Program, tls: Option<&ListenTls>) {
    if let Some(tls) = tls {
        let found = match tls.plain {
            PlainHttp::FromLoopback => "TLS; plain HTTP from this machine only",
            PlainHttp::FromAnywhere => "TLS, and plain HTTP from everywhere",
        };
        report.ok(TLS_CERT_FILE.variable(program.prefix), found);
    }
}

/// Reads the files again and again, until `shutdown`.
pub(crate) fn keep_current(
    reload: impl Fn() -> Reload + Clone + Send + 'static,
    tasks: &Tasks,
    shutdown: Shutdown,
) {
    let looks = async move {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            // A disk may hang.
            match tokio::task::spawn_blocking(reload.clone()).await {
                Ok(Reload::Unchanged) => {}
                Ok(Reload::Loaded) => tracing::info!("the changed TLS files are in use"),
                Ok(Reload::Refused(error)) => tracing::warn!(
                    %error,
                    "a changed TLS file cannot be used, and the last good ones stay"
                ),
                // The runtime ends.
                Err(_) => return,
            }
        }
    };
    tasks.spawn("tls-reload", async move {
        tokio::select! {
            () = shutdown.requested() => {}
            () = looks => {}
        }
    });
}
