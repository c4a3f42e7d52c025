//! The client: one method for each route.

use std::time::Duration;

use bearer_auth::ApiToken;
use pool_registry_types::{HttpUrl, NodeId, PoolId, TaskId};
use serde_json::{Value, json};
use tls_config::ClientTls;

use crate::{
    chat::{ChatCompletion, ChatRequest, ChatStream},
    drain_target::DrainTarget,
    error::ClientError,
    pagination::{NodesQuery, all_pages},
    resources::{Catalog, DrainStarted, Gpus, Node, Nodes, PlacementExplanation, Pools},
    response::Response,
    routing::RoutingOptions,
    status::Status,
    subscription::EventSubscription,
    task::{TaskAccepted, TaskState},
    transport::{Transport, TransportConfig},
};

/// A server close by answers within milliseconds; this is for a very busy one.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a whole control response.
const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Configures a [`Client`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct ClientBuilder {
    url: HttpUrl,
    token: Option<ApiToken>,
    user_agent: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    tls: ClientTls,
}

impl ClientBuilder {
    /// A client of the server at `url`. A final `/v1`, as in the base URL of an OpenAI client, is
    /// removed.
    pub fn new(url: HttpUrl) -> Self {
        Self {
            url,
            token: None,
            user_agent: concat!("llorch-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            tls: ClientTls::system(),
        }
    }

    /// The token to send with every request.
    pub fn token(mut self, token: ApiToken) -> Self {
        self.token = Some(token);
        self
    }

    /// The name of the program in the header `User-Agent`.
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        user_agent.clone_into(&mut self.user_agent);
        self
    }

    /// The timeout of a connection attempt.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The timeout of a whole control response. Inference and event streams have none.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Which servers with TLS are trusted. By default it is those that the system trusts.
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = tls;
        self
    }

    /// The client. It connects with the first request.
    #[must_use]
    pub fn build(self) -> Client {
        let url = self.url.to_string();
        Client {
            transport: Transport::new(TransportConfig {
                base_url: url.strip_suffix("/v1").unwrap_or(&url).to_owned(),
                token: self.token,
                user_agent: self.user_agent,
                connect_timeout: self.connect_timeout,
                response_timeout: self.response_timeout,
                tls: self.tls,
            }),
        }
    }
}

/// A client of one `orchestratord`, or for chats of any OpenAI-compatible server. Cloning is cheap
/// and shares the connections.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client of the server at `url`, without a token and with default timeouts.
    #[must_use]
    pub fn new(url: HttpUrl) -> Self {
        Self::builder(url).build()
    }

    /// Configures a client of the server at `url`.
    pub fn builder(url: HttpUrl) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// The URL of the server, without a final slash or `/v1`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.transport.base_url()
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether the client sends a token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.transport.has_token()
    }

    /// `GET /v2/status`: the state of the fleet.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&self) -> Result<Response<Status>, ClientError> {
        self.transport.get("/v2/status")
    }

    /// `GET /v2/nodes`: the nodes of a query, with all pages.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn nodes(&self, query: &NodesQuery) -> Result<Response<Nodes>, ClientError> {
        all_pages(&self.transport, "/v2/nodes", "nodes", query)
    }

    /// `GET /v2/nodes/{id}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn node(&self, node: &NodeId) -> Result<Response<Node>, ClientError> {
        self.transport.get(&format!("/v2/nodes/{node}"))
    }

    /// `DELETE /v2/nodes/{id}`: forgets a node. A node that lives registers again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn forget_node(&self, node: &NodeId) -> Result<(), ClientError> {
        self.transport.delete(&format!("/v2/nodes/{node}"))
    }

    /// `GET /v2/pools`: all endpoints, with all pages.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn pools(&self) -> Result<Response<Pools>, ClientError> {
        all_pages(
            &self.transport,
            "/v2/pools",
            "pools",
            &NodesQuery::default(),
        )
    }

    /// `GET /v2/gpus`: the GPUs of all nodes, with all pages.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn gpus(&self) -> Result<Response<Gpus>, ClientError> {
        all_pages(&self.transport, "/v2/gpus", "gpus", &NodesQuery::default())
    }

    /// `GET /v2/catalog/availability`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn catalog(&self) -> Result<Response<Catalog>, ClientError> {
        self.transport.get("/v2/catalog/availability")
    }

    /// The names in `GET /v1/models`: models that an endpoint can serve now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn model_names(&self) -> Result<Vec<String>, ClientError> {
        #[derive(serde::Deserialize)]
        struct ModelList {
            data: Vec<ModelEntry>,
        }
        #[derive(serde::Deserialize)]
        struct ModelEntry {
            id: String,
        }
        let list = self.transport.get::<ModelList>("/v1/models")?.read()?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    }

    /// `POST /v2/placement/explain` with `body`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn explain(&self, body: &Value) -> Result<Response<PlacementExplanation>, ClientError> {
        self.transport.post("/v2/placement/explain", body)
    }

    /// Takes a node, a pool or a replica out of service: it gets no new requests, and running
    /// requests finish, within `deadline` when there is one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn drain(
        &self,
        target: &DrainTarget,
        deadline: Option<Duration>,
    ) -> Result<DrainStarted, ClientError> {
        let body = match deadline {
            None => json!({}),
            Some(deadline) => {
                json!({ "deadline_ms": pool_registry_types::millis(deadline) })
            }
        };
        self.transport
            .post(&format!("{}/drain", target.path()), &body)?
            .read()
    }

    /// Puts a node, a pool or a replica back into service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn undrain(&self, target: &DrainTarget) -> Result<(), ClientError> {
        self.transport
            .post::<Value>(&format!("{}/undrain", target.path()), &json!({}))
            .map(drop)
    }

    /// Restarts the engines of a pool, one after the other, and waits until all have started. Its
    /// node must have started them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn restart_pool(
        &self,
        node: &NodeId,
        pool: &PoolId,
    ) -> Result<Response<Value>, ClientError> {
        let path = format!("/v2/pools/{node}/{pool}/restart");
        self.transport.post_and_wait(&path, &json!({}))
    }

    /// `POST /v2/tasks` with the task in `body`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn submit(&self, body: &Value) -> Result<Response<TaskAccepted>, ClientError> {
        self.transport.post("/v2/tasks", body)
    }

    /// `GET /v2/tasks/{id}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn task(&self, task: &TaskId) -> Result<Response<TaskState>, ClientError> {
        self.transport.get(&format!("/v2/tasks/{task}"))
    }

    /// `POST /v2/tasks/{id}/cancel`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn cancel(&self, task: &TaskId) -> Result<(), ClientError> {
        self.transport
            .post_ignoring_body(&format!("/v2/tasks/{task}/cancel"), &json!({}))
    }

    /// The events of a task after the one with the id `last_id`; from the first without it.
    #[must_use]
    pub fn task_events(&self, task: &TaskId, last_id: Option<String>) -> EventSubscription {
        self.subscribe(format!("/v2/tasks/{task}/events"), last_id)
    }

    /// `GET /v2/events`: the last `limit` events of the fleet, `{"events":[…]}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn recent_events(&self, limit: Option<u32>) -> Result<Response<Value>, ClientError> {
        let query = limit.map_or_else(String::new, |limit| format!("?limit={limit}"));
        self.transport.get(&format!("/v2/events{query}"))
    }

    /// The events of the fleet as they happen, after the one with the id `last_id`.
    #[must_use]
    pub fn fleet_events(&self, last_id: Option<String>) -> EventSubscription {
        self.subscribe("/v2/events".to_owned(), last_id)
    }

    fn subscribe(&self, path: String, last_id: Option<String>) -> EventSubscription {
        EventSubscription::new(self.transport.clone(), path, last_id)
    }

    /// Starts a streamed chat.
    ///
    /// # Errors
    /// When no response begins; see [`ClientError`].
    pub fn chat(
        &self,
        chat: &ChatRequest,
        routing: &RoutingOptions,
    ) -> Result<ChatStream, ClientError> {
        ChatStream::start(&self.transport, chat, routing)
    }

    /// Sends a chat and waits for the whole answer.
    ///
    /// # Errors
    /// When no complete answer arrives; see [`ClientError`].
    pub fn complete_chat(
        &self,
        chat: &ChatRequest,
        routing: &RoutingOptions,
    ) -> Result<ChatCompletion, ClientError> {
        ChatCompletion::request(&self.transport, chat, routing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_has_no_v1_and_the_token_is_not_shown() {
        let url: HttpUrl = "http://h:1/v1".parse().unwrap();
        let token = ApiToken::new("canary-9f8e7d6c".to_owned()).unwrap();
        let client = Client::builder(url).token(token).build();
        assert_eq!((client.url(), client.has_token()), ("http://h:1", true));
        assert!(!format!("{client:?}").contains("canary"), "{client:?}");
    }

    #[test]
    fn an_invalid_header_value_is_an_invalid_request() {
        let client = Client::new("http://127.0.0.1:1".parse().unwrap());
        let routing = RoutingOptions {
            session: Some("two\nlines".to_owned()),
            ..RoutingOptions::default()
        };
        let chat = ChatRequest::new("tiny", Vec::new());
        let error = client.chat(&chat, &routing).unwrap_err();
        assert!(
            matches!(error, ClientError::InvalidRequest { .. }),
            "{error:?}"
        );
    }
}
