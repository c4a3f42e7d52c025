//! A machine joins.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use pool_registry_types::{HttpUrl, JoinRequest, JoinResponse, NodeId, PemText, SecretText};
use tls_config::{ClientTls, Trust};
use zeroize::Zeroizing;

use crate::{
    client::post,
    error::JoinError,
    files::{CONTROL_PLANE_SETTING, JoinedFiles, not_written, write_private},
    key::NodeKey,
    reachable::Reachable,
};

const PATH: &str = "/v2/join";

/// What a machine needs to join.
#[derive(Debug, Clone)]
pub struct JoinPlan {
    /// The control plane.
    pub control_plane: HttpUrl,
    /// The id that the node will have.
    pub node_id: NodeId,
    /// Where the control plane will reach it.
    pub address: HttpUrl,
    /// The join token.
    pub token: SecretText,
    /// Which control plane is trusted, where it has TLS.
    pub trust: Trust,
    /// Whether the control plane is asked to connect to the address before. Something else may
    /// listen there already: the `pool-managerd` of a node that joins again.
    pub connect_back: bool,
}

/// A machine that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its files, with their absolute paths.
    pub files: JoinedFiles,
    /// Whether it has a certificate. Otherwise it has a token.
    pub has_certificate: bool,
    /// Whether the control plane has connected to the address.
    pub is_reached: bool,
}

/// Joins, and writes `files`. The key pair is made here, and the private key stays here.
///
/// # Errors
/// When the machine has not joined. The join token may be used up then.
pub fn join(plan: &JoinPlan, files: &JoinedFiles) -> Result<Joined, JoinError> {
    let mut files = files.clone();
    files.prepare()?;
    let tls = ClientTls::load(plan.trust.clone(), None)?;
    let key = NodeKey::generate()?;
    let (token, node, address) = (&plan.token, &plan.node_id, &plan.address);
    let request = JoinRequest::new(token.clone(), node.clone(), address.clone());
    let mut request = request.with_csr(key.request(node)?);
    let reachable = if plan.connect_back {
        Reachable::listen(listen_address(address))?
    } else {
        None
    };
    if let Some(reachable) = &reachable {
        request = request.with_challenge(reachable.challenge());
    }
    let response: JoinResponse = post(&plan.control_plane, PATH, &request, &tls)?;
    let is_reached = reachable.is_some_and(|reachable| reachable.was_asked());
    let has_certificate = match (response.certificate, response.ca_certificate) {
        (Some(certificate), Some(ca)) => {
            with_certificate(plan, &files, &key.behind(&certificate), &ca)?;
            true
        }
        _ => {
            let digest = response.control_plane_token_sha256;
            with_token(plan, &files, response.token, digest)?;
            false
        }
    };
    Ok(Joined {
        files,
        has_certificate,
        is_reached,
    })
}

fn with_certificate(
    plan: &JoinPlan,
    files: &JoinedFiles,
    identity: &str,
    ca: &PemText,
) -> Result<(), JoinError> {
    let ca_file = files.ca();
    state_file::write(&ca_file, ca.as_str().as_bytes()).map_err(not_written(&ca_file))?;
    files.replace_identity(identity, Some(plan.address.host()))?;
    let mut settings = settings(plan);
    let (identity, ca) = (files.identity(), ca_file);
    for (name, file) in [
        ("POOL_MANAGERD_TLS_CERT_FILE", &identity),
        ("POOL_MANAGERD_TLS_KEY_FILE", &identity),
        ("POOL_MANAGERD_TLS_CLIENT_CA_FILE", &ca),
        ("POOL_MANAGERD_TLS_IDENTITY_FILE", &identity),
    ] {
        line(&mut settings, name, &file.display().to_string());
    }
    match &plan.trust {
        Trust::Pinned(_) => {
            let name = "POOL_MANAGERD_TLS_CA_FILE";
            line(&mut settings, name, &ca.display().to_string());
        }
        trust => trust_line(&mut settings, trust),
    }
    write_private(&files.settings(), &settings)
}

fn with_token(
    plan: &JoinPlan,
    files: &JoinedFiles,
    token: Option<SecretText>,
    control_plane: Option<String>,
) -> Result<(), JoinError> {
    let is_digest =
        |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (Some(token), Some(digest)) = (token, control_plane.filter(is_digest)) else {
        return Err(JoinError::NotUnderstood {
            url: plan.control_plane.clone(),
            reason: "the answer has neither a certificate nor a token".to_owned(),
        });
    };
    let keys = format!(
        "# Written by `pool-managerd join`. The control plane presents this token to the node.\n\
         [[key]]\nname = \"the control plane\"\ntoken_sha256 = \"{digest}\"\n\
         scopes = [\"operator\"]\n"
    );
    write_private(&files.keys(), &keys)?;
    let mut settings = settings(plan);
    line(&mut settings, "LLORCH_API_TOKEN", token.reveal());
    let file = files.keys().display().to_string();
    line(&mut settings, "POOL_MANAGERD_KEYS_FILE", &file);
    trust_line(&mut settings, &plan.trust);
    write_private(&files.settings(), &settings)
}

/// The settings that do not depend on the answer.
fn settings(plan: &JoinPlan) -> Zeroizing<String> {
    let mut text = Zeroizing::new(
        "# Written by `pool-managerd join`, and read at each start. Variables of the environment \
         come first.\n"
            .to_owned(),
    );
    for (name, value) in [
        ("POOL_MANAGERD_CLOUD_PROFILE", "true".to_owned()),
        (CONTROL_PLANE_SETTING, plan.control_plane.to_string()),
        ("POOL_MANAGERD_NODE_ID", plan.node_id.to_string()),
        ("POOL_MANAGERD_ADDRESS", plan.address.to_string()),
        (
            "POOL_MANAGERD_ADDR",
            listen_address(&plan.address).to_string(),
        ),
        ("POOL_MANAGERD_REQUIRE_AUTH", "true".to_owned()),
    ] {
        line(&mut text, name, &value);
    }
    text
}

/// The listen address of a node at `address`: its IP address, or every one where it has a name.
fn listen_address(address: &HttpUrl) -> SocketAddr {
    let ip = address.host().parse();
    let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    SocketAddr::new(ip, address.port())
}

fn trust_line(text: &mut String, trust: &Trust) {
    match trust {
        Trust::System => {}
        Trust::CaFile(file) => {
            let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
            line(
                text,
                "POOL_MANAGERD_TLS_CA_FILE",
                &file.display().to_string(),
            );
        }
        Trust::Pinned(fingerprint) => {
            line(
                text,
                "POOL_MANAGERD_TLS_CA_SHA256",
                &fingerprint.to_string(),
            );
        }
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{name}={value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: JOIN-31
    #[test]
    fn a_node_listens_at_its_address() {
        for (address, listens) in [
            ("https://10.0.0.7:9200", "10.0.0.7:9200"),
            ("https://[fd00::7]:9200", "[fd00::7]:9200"),
            ("https://gpu-1.example:9300", "0.0.0.0:9300"),
            ("http://127.0.0.1:9200", "127.0.0.1:9200"),
        ] {
            let listen = listen_address(&address.parse().unwrap());
            assert_eq!(listen.to_string(), listens);
        }
    }
}
