//! The part of `pool-managerd check` beyond the common settings.

use daemon::Report;
use node_registration::PreflightError;

use crate::{
    config::{CloudConfig, Config},
    settings::PROGRAM,
};

/// Checks directories, GPUs, engines and the control plane, and changes nothing.
pub(crate) fn preflight(config: &Config, report: &mut Report) {
    let Some(cloud) = &config.cloud else {
        report.ok("profile", "HOME: it watches, starts and registers nothing");
        return;
    };
    local_node::check(report, &PROGRAM, &cloud.node);
    control_plane(report, config, cloud);
}

fn control_plane(report: &mut Report, config: &Config, cloud: &CloudConfig) {
    let Some(registration) = &cloud.registration else {
        report.ok(
            "control plane",
            "the node does not join one, because of ORCHESTRATORD_REGISTER_ON_STARTUP",
        );
        return;
    };
    let host = registration.address().host();
    let is_here = |host: &str| {
        host == "localhost"
            || host
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    if !is_here(host) && config.settings.addr.ip().is_loopback() {
        report.warning(
            "POOL_MANAGERD_ADDRESS",
            format!(
                "orchestratord gets {}, but this node listens on {}",
                registration.address(),
                config.settings.addr
            ),
            "set POOL_MANAGERD_ADDR to 0.0.0.0 and the port, unless a proxy on this machine \
             forwards to it",
        );
    }
    for (url, result) in node_registration::preflight(registration) {
        let subject = format!("orchestratord {url}");
        if is_here(host) && !is_here(url.host()) {
            report.warning(
                "POOL_MANAGERD_ADDRESS",
                format!(
                    "is {}, which {url} cannot reach from its machine",
                    registration.address()
                ),
                "set it to an address of this machine in their common network",
            );
        }
        match result {
            Ok(answer) => {
                let version = answer.version.map(|version| format!(", version {version}"));
                report.ok(
                    subject,
                    format!("this node may join{}", version.unwrap_or_default()),
                );
            }
            Err(error) => report.error(subject, error.to_string(), hint(&error)),
        }
    }
}

/// How an operator can fix it.
fn hint(error: &PreflightError) -> &'static str {
    match error {
        PreflightError::Unreachable(_) => {
            "start orchestratord, or correct ORCHESTRATORD_URL, the name's address or the firewall \
             between"
        }
        PreflightError::OwnLimit(_) => "raise the limit of open files (ulimit -n)",
        PreflightError::Token(_) => {
            "set LLORCH_API_TOKEN to the token that orchestratord was started with"
        }
        PreflightError::HomeProfile => "start it with ORCHESTRATORD_CLOUD_PROFILE=true",
        PreflightError::NodeIdInUse { .. } => {
            "give one of the two another POOL_MANAGERD_NODE_ID, or stop the other; where both are \
             this machine, give it its former POOL_MANAGERD_MACHINE_ID"
        }
        PreflightError::NotAControlPlane(_) => {
            "correct ORCHESTRATORD_URL: it is the address alone, without a path such as /v1"
        }
        _ => "see the log of orchestratord",
    }
}
