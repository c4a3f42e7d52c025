//! A gateway with a listener, engines behind it, and a client.

use std::{collections::HashMap, sync::Arc, time::Duration};

use admission::{Admission, AdmissionConfig};
use bearer_auth::{
    AccessToken, AuthPolicy, Credential, Identity, KeyLimits, KeySource, Scope, UncheckedKeyLimits,
};
use bytes::Bytes;
use fake_engine::{FakeEngine, Script};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use http_server::{AllowedHosts, Authenticated, Limits, Unguarded};
use inference_gateway::{Gateway, GatewayConfig, GatewayMetrics, PathRouter};
use node_transport::{
    NodeReport, NodeRequest, NodeResponse, NodeTransport, TcpTransport, TransportError,
};
use pool_registry_types::HttpUrl;
use routing_table::{RouteChange, RouteSink as _};
use service_runtime::{Shutdown, Tasks};
use stream_proxy::{Outbound, ProxyBody, StreamProxy, Timeouts};
use test_fixtures::TestEndpoint;
use usage_log::UsageLog;

/// A test that reaches this limit has failed. No test waits for it otherwise.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Service {
    pub(crate) url: HttpUrl,
    pub(crate) admission: Admission,
    pub(crate) metrics: GatewayMetrics,
    client: StreamProxy,
    _tasks: Tasks,
    keys: Vec<TestKey>,
    policy: Option<AuthPolicy>,
    pub(crate) usage: UsageLog,
}

/// A key of a client.
pub(crate) struct TestKey {
    token: AccessToken,
    identity: Arc<Identity>,
}

impl TestKey {
    pub(crate) fn new(name: &str, limits: UncheckedKeyLimits) -> Self {
        let token = AccessToken::generate().unwrap();
        let identity = Arc::new(Identity {
            id: token.digest().short().into(),
            name: name.into(),
            scopes: Scope::Client.into(),
            node: None,
            expires_at: None,
            limits: KeyLimits::try_from(limits).unwrap(),
        });
        Self { token, identity }
    }

    /// The value of `Authorization`.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token.reveal())
    }

    fn credential(&self) -> Credential {
        Credential {
            digest: self.token.digest(),
            identity: Arc::clone(&self.identity),
            valid_until: None,
            is_revoked: false,
        }
    }
}

/// The token that nodes expect.
pub(crate) const NODE_TOKEN: &str = "canary-node-4711";

/// The incarnation of agents that are reached over TCP. Other requests go to the engines directly.
const OVER_TCP: u64 = 2;

/// The replica `replica` of the engine.
pub(crate) fn endpoint(engine: &FakeEngine, replica: &str) -> TestEndpoint {
    let script = engine.script();
    TestEndpoint {
        target: HttpUrl::new(&engine.url()).unwrap(),
        models: Some(script.models),
        ..TestEndpoint::of_replica("node-1", replica, script.slots)
    }
}

/// The same, reached over TCP like a node.
pub(crate) fn over_tcp(endpoint: TestEndpoint) -> TestEndpoint {
    TestEndpoint {
        incarnation: OVER_TCP,
        ..endpoint
    }
}

/// Sends requests directly to engines, or over TCP to endpoints with [`OVER_TCP`].
#[derive(Debug)]
struct Nodes {
    engines: StreamProxy,
    tcp: TcpTransport,
}

impl NodeTransport for Nodes {
    fn send<'a>(
        &'a self,
        request: NodeRequest<'a>,
    ) -> BoxFuture<'a, Result<NodeResponse, TransportError>> {
        if request.endpoint.incarnation() == OVER_TCP {
            return self.tcp.send(request);
        }
        Box::pin(async move {
            let target = request.endpoint.target();
            let sent = self
                .engines
                .forward(target, request.outbound, request.timeouts);
            Ok(NodeResponse {
                response: sent.await.map_err(TransportError::failed)?,
                report: NodeReport::default(),
            })
        })
    }
}

/// Time limits that a busy machine does not reach.
pub(crate) fn generous_timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(60),
        ..Timeouts::default()
    }
}

/// A queue timeout that a busy machine does not reach.
pub(crate) fn long_queue() -> AdmissionConfig {
    AdmissionConfig {
        max_wait: Duration::from_secs(600),
        ..AdmissionConfig::default()
    }
}

/// Engines `r0`, `r1`, … in this order.
pub(crate) fn engines<const N: usize>(scripts: [Script; N]) -> [FakeEngine; N] {
    scripts.map(|script| FakeEngine::start(script).unwrap())
}

pub(crate) fn table(engines: &[FakeEngine]) -> Vec<TestEndpoint> {
    let numbered = engines.iter().enumerate();
    numbered
        .map(|(number, engine)| endpoint(engine, &format!("r{number}")))
        .collect()
}

impl Service {
    pub(crate) async fn over(engines: &[FakeEngine]) -> Self {
        let config = GatewayConfig {
            timeouts: generous_timeouts(),
            ..GatewayConfig::default()
        };
        Self::with(config, long_queue(), table(engines)).await
    }

    pub(crate) async fn with(
        config: GatewayConfig,
        admission: AdmissionConfig,
        table: Vec<TestEndpoint>,
    ) -> Self {
        let nodes = Nodes {
            engines: StreamProxy::new(),
            tcp: TcpTransport::new(
                StreamProxy::new(),
                Some(HeaderValue::from_static(NODE_TOKEN)),
            ),
        };
        Self::behind(Arc::new(nodes), config, admission, &table)
    }

    pub(crate) fn behind(
        nodes: Arc<dyn NodeTransport>,
        config: GatewayConfig,
        admission: AdmissionConfig,
        table: &[TestEndpoint],
    ) -> Self {
        Self::guarded(nodes, config, admission, table, None)
    }

    /// A service whose clients present one of these keys.
    pub(crate) fn with_keys(
        config: GatewayConfig,
        admission: AdmissionConfig,
        engines: &[FakeEngine],
        keys: Vec<TestKey>,
    ) -> Self {
        let nodes = Nodes {
            engines: StreamProxy::new(),
            tcp: TcpTransport::new(StreamProxy::new(), None),
        };
        let policy = AuthPolicy::with_keys_only(None);
        let credentials = keys.iter().map(TestKey::credential).collect();
        policy.replace_keys(KeySource::Store, credentials);
        let table = table(engines);
        let guard = Some(policy.clone());
        let service = Self::guarded(Arc::new(nodes), config, admission, &table, guard);
        Self {
            keys,
            policy: Some(policy),
            ..service
        }
    }

    /// Revokes all keys.
    pub(crate) fn revoke_keys(&self) {
        let credentials = self.keys.iter().map(|key| Credential {
            is_revoked: true,
            ..key.credential()
        });
        let policy = self.policy.as_ref().unwrap();
        policy.replace_keys(KeySource::Store, credentials.collect());
    }

    /// Its keys.
    pub(crate) fn keys(&self) -> &[TestKey] {
        &self.keys
    }

    fn guarded(
        nodes: Arc<dyn NodeTransport>,
        config: GatewayConfig,
        admission: AdmissionConfig,
        table: &[TestEndpoint],
        policy: Option<AuthPolicy>,
    ) -> Self {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let admission = Admission::new(admission);
        tasks.spawn("admission", admission.clone().run());
        let metrics = GatewayMetrics::default();
        let gateway = Gateway::new(config, admission.clone(), nodes, metrics.clone());
        let usage = UsageLog::in_memory();
        gateway.record_usage(usage.clone());
        if let Some(policy) = &policy {
            gateway.check_keys_with(policy.clone());
        }
        let others = http_server::with_fallbacks(axum::Router::new());
        let bound = http_server::bind("127.0.0.1:0".parse().unwrap(), Limits::default()).unwrap();
        let url = HttpUrl::new(&format!("http://{}", bound.local_addr())).unwrap();
        let router = PathRouter::new(gateway, others);
        match policy {
            Some(policy) => {
                let guarded = Authenticated::new(policy, AllowedHosts::new([], ""), router);
                bound.serve(guarded, &tasks, shutdown).unwrap()
            }
            None => bound
                .serve(Unguarded::new(router), &tasks, shutdown)
                .unwrap(),
        };
        let service = Self {
            url,
            admission,
            metrics,
            client: StreamProxy::new(),
            _tasks: tasks,
            keys: Vec::new(),
            policy: None,
            usage,
        };
        service.add(table);
        service
    }

    /// Adds these endpoints to the gateway's routing table.
    pub(crate) fn add(&self, table: &[TestEndpoint]) {
        let changes: Vec<_> = table.iter().map(TestEndpoint::set).collect();
        self.admission.apply(&changes);
    }

    /// Removes these endpoints from it.
    pub(crate) fn remove(&self, table: &[TestEndpoint]) {
        let gone = table.iter().map(TestEndpoint::endpoint);
        let changes: Vec<_> = gone.map(RouteChange::Remove).collect();
        self.admission.apply(&changes);
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<ProxyBody> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let request = Outbound::new(
            method,
            path.parse().unwrap(),
            map,
            Bytes::from(body.to_owned()),
        );
        self.client
            .forward(&self.url, &request, generous_timeouts())
            .await
            .unwrap()
    }

    /// Sends a chat request; `x_fake` is the engine's script for it.
    pub(crate) async fn chat(&self, stream: bool, x_fake: &str) -> Response<ProxyBody> {
        let body = format!(
            r#"{{"model":"tiny","stream":{stream},
                "messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        self.send(
            Method::POST,
            "/v1/chat/completions",
            &[("x-fake", x_fake)],
            &body,
        )
        .await
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        until(what, || condition(self)).await;
    }

    /// Slots in use, by replica.
    pub(crate) fn in_flight(&self) -> HashMap<String, u32> {
        let endpoints = self.admission.snapshot().endpoints;
        endpoints
            .into_iter()
            .map(|status| (status.key.replica.unwrap().to_string(), status.in_flight))
            .collect()
    }

    pub(crate) async fn all_slots_back(&self) {
        self.until("every slot is back", |service| {
            service.in_flight().values().all(|&held| held == 0)
        })
        .await;
    }
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "timed out waiting until {what}");
}

pub(crate) fn header<'a>(answer: &'a Response<ProxyBody>, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// The body's text, and whether it is complete.
pub(crate) async fn text(answer: Response<ProxyBody>) -> (String, bool) {
    let mut body = answer.into_body();
    let mut received = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => received.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => return (String::from_utf8(received).unwrap(), false),
        }
    }
    (String::from_utf8(received).unwrap(), true)
}

/// The events of a stream, each as its data.
pub(crate) fn events(text: &str) -> Vec<&str> {
    assert!(
        text.is_empty() || text.ends_with("\n\n"),
        "an event without its end: {text:?}"
    );
    text.split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect()
}

pub(crate) fn error_of(text: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(text)
        .unwrap_or_else(|error| panic!("{error}: {text}"))["error"]
        .clone()
}
