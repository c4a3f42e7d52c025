//! A machine joins, and a node renews its certificate.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bearer_auth::{AccessToken, AccessTokenError, CertificateHolder, TokenDigest};
use http_server::ApiError;
use join_tokens::{Event, IssuedCertificate, JoinState, is_of_every_machine};
use node_ca::{CaDirectory, Host, Period};
use pool_registry_types::{
    ErrorCode, HttpUrl, JoinRequest, JoinResponse, NodeId, PemText, SecretText,
};
use tls_config::IdentityFiles;

use crate::{
    api::JoinApi,
    errors::{internal, refused},
    reach::reach,
};

/// The longest wait until a certificate is valid. Times in certificates are whole seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl JoinApi {
    /// Gives a machine the identity of a node. A refused request costs no use of the token.
    pub(crate) async fn join(&self, request: JoinRequest) -> Result<JoinResponse, ApiError> {
        let digest = digest(&request.token)?;
        let node_id = request.node_id;
        // First: only who may join makes this server resolve a name. It is judged again when it is
        // used.
        let may_join = self.check(digest, &node_id).await;
        may_join.map_err(|error| refused(&error))?;
        let host = self.check_address(&request.address).await?;
        if let Some(challenge) = &request.challenge {
            let address = &request.address;
            let reached = reach(address, challenge, &self.inner().config.addresses).await;
            reached.map_err(|why| ApiError::invalid(format!("address: {address} {why}")))?;
        }
        match &self.inner().config.ca {
            Some(ca) => {
                let csr = request.csr.ok_or_else(|| {
                    ApiError::invalid(
                        "csr: is needed, because this control plane has a CA; join with \
                         `pool-managerd join https://…`",
                    )
                })?;
                self.join_with_certificate(Arc::clone(ca), node_id, digest, csr, host)
                    .await
            }
            None => {
                let _joining = self.inner().joining.lock().await;
                let may_join = self.check(digest, &node_id).await;
                may_join.map_err(|error| refused(&error))?;
                self.join_with_token(node_id, digest).await
            }
        }
    }

    async fn join_with_certificate(
        &self,
        ca: Arc<CaDirectory>,
        node_id: NodeId,
        digest: TokenDigest,
        csr: PemText,
        host: Host,
    ) -> Result<JoinResponse, ApiError> {
        let lifetime = self.inner().config.lifetime;
        let now = SystemTime::now();
        let event = Event::Use {
            digest,
            node: node_id.clone(),
            certificate: Some(IssuedCertificate::new(
                vec![host.to_string()],
                now + lifetime,
            )),
        };
        let certificate_of_ca = pem(ca.authority().certificate())?;
        let node = node_id.clone();
        let sign = move |state: &JoinState| {
            let period = Period {
                after: state.revoked_at(&node),
                ..Period::from(now, lifetime)
            };
            let certificate = ca.authority().sign(&csr, &node, &[host], period)?;
            Ok((certificate, period.not_before()))
        };
        let changed = self.change_after(event, Box::new(sign)).await;
        let (_, (certificate, valid_from)) = changed.map_err(|error| refused(&error))?;
        // Just after a revocation it is not valid yet, for less than a second.
        if let Ok(early) = valid_from.duration_since(SystemTime::now()) {
            tokio::time::sleep(early.min(LONGEST_WAIT)).await;
        }
        let mut response = JoinResponse::new(node_id);
        response.certificate = Some(pem(&certificate)?);
        response.ca_certificate = Some(certificate_of_ca);
        Ok(response)
    }

    async fn join_with_token(
        &self,
        node_id: NodeId,
        digest: TokenDigest,
    ) -> Result<JoinResponse, ApiError> {
        // Without it the control plane could present nothing to the node.
        let own = self.inner().config.own_token.ok_or_else(|| {
            ApiError::new(
                ErrorCode::KeyConflict,
                "this control plane has neither a CA nor a token, so it could present nothing to \
                 the node; set ORCHESTRATORD_CA_DIR (`llorch ca init` makes a CA), or \
                 LLORCH_API_TOKEN",
            )
        })?;
        let event = Event::Use {
            digest,
            node: node_id.clone(),
            certificate: None,
        };
        self.change(event).await.map_err(|error| refused(&error))?;
        let token = self.inner().keys.replace_node_key(&node_id).await?;
        let mut response = JoinResponse::new(node_id);
        response.token = Some(SecretText::new(token.reveal()).map_err(|_| internal())?);
        response.control_plane_token_sha256 = Some(own.to_hex());
        Ok(response)
    }

    /// Signs the next certificate of a node. It has the hosts of the one that the node presents.
    pub(crate) async fn renew(
        &self,
        holder: &Arc<CertificateHolder>,
        csr: PemText,
    ) -> Result<PemText, ApiError> {
        let config = &self.inner().config;
        let (Some(ca), Some(node)) = (&config.ca, holder.node()) else {
            return Err(ApiError::new(
                ErrorCode::NotFound,
                "this control plane has no CA, so it signs no certificates",
            ));
        };
        let hosts = holder.hosts().iter().filter_map(|host| host.parse().ok());
        let hosts: Vec<Host> = hosts.collect();
        let (ca, node, lifetime) = (Arc::clone(ca), node.clone(), config.lifetime);
        let now = SystemTime::now();
        let names = hosts.iter().map(Host::to_string).collect();
        let event = Event::Renew {
            node: node.clone(),
            certificate: IssuedCertificate::new(names, now + lifetime),
        };
        let sign = move |state: &JoinState| {
            let period = Period {
                after: state.revoked_at(&node),
                ..Period::from(now, lifetime)
            };
            ca.authority().sign(&csr, &node, &hosts, period)
        };
        let changed = self.change_after(event, Box::new(sign)).await;
        let (_, certificate) = changed.map_err(|error| refused(&error))?;
        // A revocation since the request was let in must not be escaped.
        if !self.is_valid(holder) {
            return Err(ApiError::new(
                ErrorCode::Unauthorized,
                "the certificate was revoked; join again",
            ));
        }
        pem(&certificate)
    }

    /// The host of a node's address, which must be one that the control plane may connect to: it is
    /// judged again at each connection. A certificate is signed for a name only if it resolves, and
    /// for none of the control plane's own.
    async fn check_address(&self, address: &HttpUrl) -> Result<Host, ApiError> {
        let invalid = |reason: String| ApiError::invalid(format!("address: {reason}"));
        let config = &self.inner().config;
        if config.ca.is_some() && !address.is_https() {
            let reason = "must begin with https://, because this control plane has a CA";
            return Err(invalid(reason.to_owned()));
        }
        let host = address.host();
        let allowed = config.addresses.check_host(host);
        allowed.map_err(|error| invalid(error.to_string()))?;
        let found = tokio::net::lookup_host((host, address.port())).await;
        if let Err(error) = &found
            && config.ca.is_some()
        {
            return Err(invalid(format!(
                "{host} does not resolve on the control plane: {error}"
            )));
        }
        if let Ok(found) = found {
            let found: Vec<_> = found.map(|socket| socket.ip()).collect();
            let refused = found.iter().map(|ip| config.addresses.check(*ip));
            // One that is allowed is enough: the others are not connected to.
            let errors: Vec<_> = refused.filter_map(Result::err).collect();
            if let Some(error) = errors.first().filter(|_| errors.len() == found.len()) {
                return Err(invalid(format!(
                    "{host} resolves to an address, but {error}"
                )));
            }
        }
        let host = host
            .parse()
            .map_err(|error: node_ca::HostError| invalid(format!("the host {error}")))?;
        if config.ca.is_some() && self.is_own(&host).await? {
            return Err(ApiError::new(
                ErrorCode::KeyConflict,
                format!(
                    "address: {host} is a host of the control plane itself; a node on the same \
                     machine joins with an address such as https://127.0.0.1:9200"
                ),
            ));
        }
        Ok(host)
    }

    /// Whether clients may know this control plane by `host`. A certificate for such a host would
    /// let a node pass for it.
    async fn is_own(&self, host: &Host) -> Result<bool, ApiError> {
        if is_of_every_machine(&host.to_string()) {
            return Ok(false);
        }
        let config = &self.inner().config;
        if config.own_hosts.contains(host) {
            return Ok(true);
        }
        let ca = config.ca.iter().map(|ca| ca.server());
        let files: Vec<_> = ca.chain(config.own_certificates.iter().cloned()).collect();
        // They may have been renewed for other hosts since the start.
        let read = move || {
            files
                .iter()
                .map(IdentityFiles::names)
                .collect::<Result<Vec<_>, _>>()
        };
        let names = tokio::task::spawn_blocking(read).await;
        let names = names.map_err(|_| internal())?.map_err(|error| {
            tracing::warn!(%error, "no node can join, because the own hosts are unknown");
            internal()
        })?;
        Ok(names
            .iter()
            .flatten()
            .any(|name| name.parse().as_ref() == Ok(host)))
    }
}

/// A mistyped token is reported as such, and never looked up.
fn digest(token: &SecretText) -> Result<TokenDigest, ApiError> {
    let token: Result<AccessToken, AccessTokenError> = token.reveal().parse();
    match token {
        Ok(token) => Ok(token.digest()),
        Err(AccessTokenError::Mistyped) => Err(ApiError::new(
            ErrorCode::Unauthorized,
            "token: the join token is mistyped or incomplete: its checksum does not match",
        )),
        Err(error @ AccessTokenError::NoPrefix) => Err(ApiError::new(
            ErrorCode::Unauthorized,
            format!("token: {error}"),
        )),
    }
}

fn pem(text: &str) -> Result<PemText, ApiError> {
    PemText::new(text).map_err(|_| internal())
}
