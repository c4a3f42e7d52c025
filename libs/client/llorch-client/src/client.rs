//! The client: one method for each thing that can be asked.

use std::{fmt, time::Duration};

use bearer_auth::ApiToken;
use pool_registry_types::{HttpUrl, NodeId, TaskId};
use serde_json::{Value, json};
use ureq::{Agent, http::Method};

use crate::{
    Catalog, ChatRequest, ChatStream, ClientError, DrainBegun, Explained, Follow, Gpus, Json, Node,
    Nodes, NodesQuery, Pools, Routing, Status, Target, TaskAccepted, TaskState, chat::Whole,
    transport::agent,
};

/// A neighbour answers within milliseconds; this long for a machine that is very busy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a whole control answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a [`Client`] is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server; a final `/v1`, as OpenAI's clients have it, is left out.
    pub url: HttpUrl,
    /// Presented with every request.
    pub token: Option<ApiToken>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the whole answer to a control request may take. Streams have no such limit.
    pub answer_timeout: Duration,
}

impl Settings {
    /// The server at `url`, without a token, with the usual patience.
    #[must_use]
    pub fn new(url: HttpUrl) -> Self {
        Self {
            url,
            token: None,
            connect_timeout: CONNECT_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
        }
    }
}

/// Talks to one `orchestratord`, or for chats to any server of OpenAI's API. Cloning is cheap and
/// shares connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) agent: Agent,
    pub(crate) base: String,
    pub(crate) settings: Settings,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.settings)
            .finish()
    }
}

impl Client {
    /// A client of the server in `settings`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let url = settings.url.to_string();
        Self {
            agent: agent(&settings),
            base: url.strip_suffix("/v1").unwrap_or(&url).to_owned(),
            settings,
        }
    }

    /// The server, without a final slash or `/v1`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether it presents a token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.settings.token.is_some()
    }

    /// `GET /v2/status`: the fleet at a glance.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&self) -> Result<Json<Status>, ClientError> {
        self.get("/v2/status")
    }

    /// `GET /v2/nodes`: those that `query` is about, page after page.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn nodes(&self, query: &NodesQuery) -> Result<Json<Nodes>, ClientError> {
        self.pages("/v2/nodes", "nodes", query)
    }

    /// `GET /v2/nodes/{id}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn node(&self, node: &NodeId) -> Result<Json<Node>, ClientError> {
        self.get(&format!("/v2/nodes/{node}"))
    }

    /// `GET /v2/pools`: all endpoints, page after page.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn pools(&self) -> Result<Json<Pools>, ClientError> {
        self.pages("/v2/pools", "pools", &NodesQuery::default())
    }

    /// `GET /v2/gpus`: those of all nodes, page after page.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn gpus(&self) -> Result<Json<Gpus>, ClientError> {
        self.pages("/v2/gpus", "gpus", &NodesQuery::default())
    }

    /// `GET /v2/catalog/availability`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn catalog(&self) -> Result<Json<Catalog>, ClientError> {
        self.get("/v2/catalog/availability")
    }

    /// The names in `GET /v1/models`: models that somebody can serve now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn model_names(&self) -> Result<Vec<String>, ClientError> {
        #[derive(serde::Deserialize)]
        struct List {
            data: Vec<Entry>,
        }
        #[derive(serde::Deserialize)]
        struct Entry {
            id: String,
        }
        let list = self.get::<List>("/v1/models")?.read()?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    }

    /// `POST /v2/placement/explain` with the question in `body`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn explain(&self, body: &Value) -> Result<Json<Explained>, ClientError> {
        self.post("/v2/placement/explain", body)
    }

    /// Takes a node, a pool or a replica out of service: no new requests, running ones finish,
    /// within `deadline` when there is one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn drain(
        &self,
        target: &Target,
        deadline: Option<Duration>,
    ) -> Result<DrainBegun, ClientError> {
        let deadline =
            deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        let body =
            deadline.map_or_else(|| json!({}), |deadline| json!({ "deadline_ms": deadline }));
        self.post(&format!("{}/drain", target.path()), &body)?
            .read()
    }

    /// Puts a node, a pool or a replica back into service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn undrain(&self, target: &Target) -> Result<(), ClientError> {
        self.post::<Value>(&format!("{}/undrain", target.path()), &json!({}))
            .map(drop)
    }

    /// `POST /v2/tasks` with the task in `body`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn submit(&self, body: &Value) -> Result<Json<TaskAccepted>, ClientError> {
        self.post("/v2/tasks", body)
    }

    /// `GET /v2/tasks/{id}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn task(&self, task: &TaskId) -> Result<Json<TaskState>, ClientError> {
        self.get(&format!("/v2/tasks/{task}"))
    }

    /// `POST /v2/tasks/{id}/cancel`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn cancel(&self, task: &TaskId) -> Result<(), ClientError> {
        let path = format!("/v2/tasks/{task}/cancel");
        let request = self.request(Method::POST, &path);
        let answer = self.send(
            request,
            Some(&json!({})),
            Some(self.settings.answer_timeout),
        )?;
        self.whole(answer).map(drop)
    }

    /// The events of a task after the one with the id `last`, from the first when there is none.
    #[must_use]
    pub fn task_events(&self, task: &TaskId, last: Option<String>) -> Follow {
        Follow::new(self.clone(), format!("/v2/tasks/{task}/events"), last)
    }

    /// `GET /v2/events`: the last `limit` events of the fleet, `{"events":[…]}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn recent_events(&self, limit: Option<u32>) -> Result<Json<Value>, ClientError> {
        let query = limit.map_or_else(String::new, |limit| format!("?limit={limit}"));
        self.get(&format!("/v2/events{query}"))
    }

    /// The fleet's events as they happen, after the one with the id `last`.
    #[must_use]
    pub fn fleet_events(&self, last: Option<String>) -> Follow {
        Follow::new(self.clone(), "/v2/events".to_owned(), last)
    }

    /// A chat whose answer comes piece by piece.
    ///
    /// # Errors
    /// When no answer begins; see [`ClientError`].
    pub fn chat(&self, chat: &ChatRequest, routing: &Routing) -> Result<ChatStream, ClientError> {
        ChatStream::begin(self, chat, routing)
    }

    /// A chat whose answer comes as a whole.
    ///
    /// # Errors
    /// When no complete answer comes; see [`ClientError`].
    pub fn chat_whole(&self, chat: &ChatRequest, routing: &Routing) -> Result<Whole, ClientError> {
        Whole::ask(self, chat, routing)
    }
}
