//! `GET /v2/sd/prometheus`: HTTP service discovery for Prometheus.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::HeaderMap};
use http::header::HOST;
use pool_registry_types::HttpUrl;
use serde::Serialize;

use crate::api::ControlApi;

/// A group of targets with the same labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TargetGroup {
    /// `host:port` of each.
    pub targets: Vec<String>,
    /// Their labels. Labels that begin with two underscores belong to Prometheus.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub labels: BTreeMap<&'static str, String>,
}

/// Targets for Prometheus: this process, at the address of this request, and the agent of each
/// known node. Where one serves metrics without a token, that address is named instead.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/sd/prometheus", tag = "watching",
    responses((status = 200, description = "As Prometheus' http_sd_config reads it.",
        body = Vec<TargetGroup>))
))]
pub(crate) async fn prometheus(
    State(api): State<ControlApi>,
    headers: HeaderMap,
) -> Json<Vec<TargetGroup>> {
    let mut groups = Vec::new();
    if let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) {
        let own = api.metrics_addr.and_then(|bound| {
            // An invalid header names no host.
            let asked = HttpUrl::new(&format!("http://{host}")).ok()?;
            asked.beside(bound)
        });
        let target = own.map_or_else(|| host.to_owned(), |url| url.authority().to_string());
        groups.push(TargetGroup {
            targets: vec![target],
            labels: BTreeMap::from([("component", "orchestratord".to_owned())]),
        });
    }
    // In the HOME profile the only node is this process itself.
    if !api.takes_registrations {
        return Json(groups);
    }
    api.each_node(|node| {
        let address = node.metrics_address.as_ref().unwrap_or(&node.address);
        let path = address.base_path().trim_end_matches('/');
        groups.push(TargetGroup {
            targets: vec![address.authority().to_string()],
            labels: BTreeMap::from([
                ("component", "pool-managerd".to_owned()),
                ("node", node.node_id.to_string()),
                ("machine", node.machine_id.to_string()),
                ("__metrics_path__", format!("{path}/metrics")),
            ]),
        });
    })
    .await;
    Json(groups)
}
