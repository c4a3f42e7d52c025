//! A gateway whose clients have keys.

use bearer_auth::UncheckedKeyLimits;
use fake_engine::FakeEngine;
use http::{Method, Response};
use inference_gateway::{Aliases, GatewayConfig};
use serde_json::{Value, json};
use stream_proxy::ProxyBody;
use usage_log::{Usage, UsageQuery};

use crate::harness::{Service, TestKey, generous_timeouts, long_queue};

pub(crate) const CHAT: &str = "/v1/chat/completions";

pub(crate) fn limits() -> UncheckedKeyLimits {
    UncheckedKeyLimits::default()
}

pub(crate) fn service<const N: usize>(engines: &[FakeEngine], keys: [TestKey; N]) -> Service {
    let config = GatewayConfig {
        timeouts: generous_timeouts(),
        aliases: Aliases::parse("[aliases]\nfast = \"tiny\"\n").unwrap(),
        ..GatewayConfig::default()
    };
    Service::with_keys(config, long_queue(), engines, keys.into())
}

pub(crate) async fn post(
    service: &Service,
    key: &TestKey,
    path: &str,
    body: &Value,
) -> Response<ProxyBody> {
    let bearer = key.bearer();
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    service
        .send(Method::POST, path, &headers, &body.to_string())
        .await
}

pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

/// What all keys have used, by the name of the key and the model.
pub(crate) fn used(service: &Service) -> Vec<(String, String, Usage)> {
    let page = service.usage.page(&UsageQuery::default(), None, 1000);
    let rows = page.rows.into_iter();
    rows.map(|row| (row.key_name.to_string(), row.model.to_string(), row.usage))
        .collect()
}
