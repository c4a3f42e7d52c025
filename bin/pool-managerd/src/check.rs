//! `pool-managerd check`: what a start needs beside the settings that every daemon has.

use daemon::Report;

use crate::config::{Cloud, Config, PROGRAM};

/// Looks at directories, GPUs, engines and the control plane, and changes nothing.
pub(crate) fn preflight(config: &Config, report: &mut Report) {
    let Some(cloud) = &config.cloud else {
        report.ok("profile", "HOME: nothing is watched, started or registered");
        return;
    };
    local_node::check(report, &PROGRAM, &cloud.node);
    control_plane(report, config, cloud);
}

fn control_plane(report: &mut Report, config: &Config, cloud: &Cloud) {
    let Some(registration) = &cloud.registration else {
        report.ok(
            "control plane",
            "not joined, as ORCHESTRATORD_REGISTER_ON_STARTUP says",
        );
        return;
    };
    let host = registration.address.host();
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
                "orchestratord is told {}, but this node listens on {}",
                registration.address, config.settings.addr
            ),
            "set POOL_MANAGERD_ADDR to 0.0.0.0 and the port, unless a proxy of this machine \
             stands before it",
        );
    }
    for (url, looked) in node_registration::preflight(registration) {
        let subject = format!("orchestratord {url}");
        if is_here(host) && !is_here(url.host()) {
            report.warning(
                "POOL_MANAGERD_ADDRESS",
                format!(
                    "is {}, which {url} cannot reach from its machine",
                    registration.address
                ),
                "set it to an address of this machine in the network that both share",
            );
        }
        match looked {
            Ok(welcome) => {
                let version = welcome
                    .version
                    .map(|version| format!(", version {version}"));
                report.ok(
                    subject,
                    format!("this node may join{}", version.unwrap_or_default()),
                );
            }
            Err(error) => report.error(subject, error.to_string(), error.hint()),
        }
    }
}
