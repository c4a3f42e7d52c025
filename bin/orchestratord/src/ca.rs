//! The CA of the control plane: the settings that follow from its directory, and the renewal of the
//! control plane's own certificate.

use std::{path::Path, sync::Arc, time::SystemTime};

use daemon::Daemon;
use node_ca::{CA_FILE, CaDirectory, CaError};
use service_runtime::env::Environment;

use crate::settings::CA_DIR;

/// Opens the directory that the settings name, and adds the settings of TLS that follow from it:
/// they are below those of the environment.
///
/// # Errors
/// When the directory cannot be used.
pub(crate) fn open(environment: &mut Environment) -> Result<Option<Arc<CaDirectory>>, CaError> {
    let variable = CA_DIR.variable("");
    let Some(path) = environment.value(&variable).map(str::to_owned) else {
        return Ok(None);
    };
    let ca = CaDirectory::open(Path::new(&path))?;
    let server = ca.server().certificate.display().to_string();
    let own_ca = Path::new(&path).join(CA_FILE).display().to_string();
    let names = ["ORCHESTRATORD_TLS_CERT_FILE", "ORCHESTRATORD_TLS_KEY_FILE"];
    // One without the other is a mistake, which is reported.
    if names.iter().all(|name| environment.value(name).is_none()) {
        for name in names {
            environment.default_to(name, &server);
        }
    }
    if environment.value("ORCHESTRATORD_TLS_CA_SHA256").is_none() {
        environment.default_to("ORCHESTRATORD_TLS_CA_FILE", &own_ca);
    }
    environment.default_to("ORCHESTRATORD_TLS_CLIENT_CA_FILE", own_ca);
    environment.default_to("ORCHESTRATORD_TLS_IDENTITY_FILE", server);
    Ok(Some(Arc::new(ca)))
}

/// Keeps the control plane's own certificate from expiring.
pub(crate) fn keep_renewed(ca: &Arc<CaDirectory>, daemon: &Daemon) {
    let (files, ca) = (ca.server(), Arc::clone(ca));
    daemon.keep_renewed(files, move || {
        ca.renew_server(&ca.server_hosts()?, SystemTime::now())
    });
}
