//! `ca`: the certificate authority of a control plane, in a directory of this machine.

use std::time::SystemTime;

use node_ca::{CaDirectory, CaError, Host, MAX_HOSTS};
use serde_json::json;

use crate::{
    args,
    exit::{Exit, Failure, Outcome},
    output::{Output, note},
};

/// Names of every machine.
const OWN_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Runs a command of `ca`.
pub(crate) fn run(command: &args::Ca, output: Output) -> Outcome {
    let now = SystemTime::now();
    match command {
        args::Ca::Init(files) => {
            let hosts = hosts(files.hosts.clone())?;
            CaDirectory::init(&files.directory, &hosts, now).map_err(|error| failed(&error))?;
            show(files, &hosts, output)?;
            note(&format!(
                "next: start orchestratord with ORCHESTRATORD_CA_DIR={} and \
                 ORCHESTRATORD_CLOUD_PROFILE=true, as the user that owns the files",
                files.directory.display()
            ));
            Ok(())
        }
        args::Ca::Renew(files) => {
            let ca = CaDirectory::open(&files.directory).map_err(|error| failed(&error))?;
            let hosts = if files.hosts.is_empty() {
                ca.server_hosts().map_err(|error| failed(&error))?
            } else {
                hosts(files.hosts.clone())?
            };
            ca.renew_server(&hosts, now)
                .map_err(|error| failed(&error))?;
            show(files, &hosts, output)
        }
        args::Ca::Fingerprint { directory } => {
            let ca = CaDirectory::open(directory).map_err(|error| failed(&error))?;
            let fingerprint = ca.fingerprint().to_string();
            if output.json {
                return Ok(output.json(&json!({ "ca_sha256": fingerprint }))?);
            }
            Ok(output.line(&fingerprint)?)
        }
    }
}

fn show(files: &args::CaFiles, hosts: &[Host], output: Output) -> Outcome {
    let ca = CaDirectory::open(&files.directory).map_err(|error| failed(&error))?;
    let fingerprint = ca.fingerprint().to_string();
    let hosts: Vec<String> = hosts.iter().map(Host::to_string).collect();
    if output.json {
        let value = json!({
            "directory": files.directory,
            "ca_sha256": fingerprint,
            "hosts": hosts,
        });
        return Ok(output.json(&value)?);
    }
    output.line(&format!("CA in {}", files.directory.display()))?;
    output.line(&format!("fingerprint (SHA-256) {fingerprint}"))?;
    Ok(output.line(&format!(
        "the control plane is known as {}",
        hosts.join(", ")
    ))?)
}

/// The given hosts, and those of every machine.
fn hosts(mut hosts: Vec<Host>) -> Result<Vec<Host>, Failure> {
    let system = rustix::system::uname();
    let hostname = system.nodename().to_str().unwrap_or_default();
    let own = OWN_HOSTS.into_iter().chain([hostname]);
    // A hostname that no URL can hold is never asked for.
    for host in own.filter_map(|host| host.parse().ok()) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.len() > MAX_HOSTS {
        return Err(Failure::usage(format!(
            "--host: {} names are too many for a certificate, {MAX_HOSTS} is the most",
            hosts.len()
        )));
    }
    Ok(hosts)
}

fn failed(error: &CaError) -> Failure {
    let exit = match error {
        CaError::Sign(_) => Exit::Failed,
        _ => Exit::Usage,
    };
    Failure::Message(exit, error.to_string())
}
