//! Ollama's API: its requests become requests of OpenAI's API, which take the usual way, and the
//! responses are translated back.

use std::{sync::Arc, time::SystemTime};

use bearer_auth::Principal;
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::BodyExt as _;
use http_server::{RequestBody, without_byte_order_mark};
use ollama_api::{
    Answer, Kind, Moment, OpenAiRequest, RequestError, Translation, chat_request, embed_request,
    generate_request,
};
use pool_registry_types::ErrorCode;
use tokio::time::Instant;

use crate::{
    body::GatewayBody,
    error::GatewayError,
    inference::Inference,
    key_use::check_model,
    models,
    ollama_body::{OllamaBody, nanos_since, rfc3339},
    route::{self, OllamaRoute, Target},
};

/// The largest error response that is translated.
const MAX_ERROR_BYTES: usize = 64 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// What ends a name where no tag is given.
const LATEST: &str = ":latest";

impl Inference {
    /// Serves a request for a route of Ollama's API.
    pub(crate) async fn serve_ollama(
        &self,
        route: OllamaRoute,
        since: SystemTime,
        request: Request<RequestBody>,
    ) -> Result<Response<GatewayBody>, GatewayError> {
        let since = rfc3339(since);
        let principal = request.body().principal().cloned();
        let key = principal.as_ref().and_then(Principal::identity);
        let names = || models::names(&self.admission, &self.config.aliases, key.map(Arc::as_ref));
        let known = match route {
            OllamaRoute::Version => ollama_api::version(),
            OllamaRoute::Tags => ollama_api::tags(names().iter().map(String::as_str), &since),
            OllamaRoute::Running => ollama_api::running(names().iter().map(String::as_str)),
            OllamaRoute::Show => return self.show(&since, request).await,
            OllamaRoute::Inference(kind) => return self.translate(kind, request).await,
        };
        Ok(json(known))
    }

    async fn show(
        &self,
        since: &str,
        request: Request<RequestBody>,
    ) -> Result<Response<GatewayBody>, GatewayError> {
        /// Older clients send `name`, and some send both.
        #[derive(serde::Deserialize)]
        struct Show {
            model: Option<String>,
            name: Option<String>,
        }
        let principal = request.body().principal().cloned();
        let (_, body) = self.read(request).await?;
        let show: Option<Show> = serde_json::from_slice(&body).ok();
        let name = show.and_then(|show| show.model.or(show.name));
        let name = name.ok_or_else(|| {
            GatewayError::invalid("model", "the body must be a JSON object with a `model`")
        })?;
        self.check_served(&name, principal.as_ref())?;
        Ok(json(ollama_api::show(since)))
    }

    /// An error unless a node serves the model that a client calls `name`, and the client may use
    /// it.
    fn check_served(&self, name: &str, principal: Option<&Principal>) -> Result<(), GatewayError> {
        let known = self.known_name(name);
        let model = self.config.aliases.target(known).unwrap_or(known);
        if let Some(key) = principal.and_then(Principal::identity) {
            check_model(key, model, Some(known))?;
        }
        if self.admission.serves(model) {
            return Ok(());
        }
        Err(GatewayError::unknown_model(name, ""))
    }

    async fn translate(
        &self,
        kind: Kind,
        request: Request<RequestBody>,
    ) -> Result<Response<GatewayBody>, GatewayError> {
        let started = Instant::now();
        let caller = request.body().caller().cloned();
        let principal = request.body().principal().cloned();
        let (mut parts, body) = self.read(request).await?;
        let translated = match kind {
            Kind::Chat => chat_request(&body),
            Kind::Generate | Kind::Raw => generate_request(&body),
            Kind::Embed | Kind::Embeddings => embed_request(&body, kind),
        };
        let translated = translated.map_err(|error| invalid(&error))?;
        let forward = match translated {
            Translation::Forward(request) => request,
            Translation::Loaded { kind, model } => {
                self.check_served(&model, principal.as_ref())?;
                let answer = Answer::new(kind, &model);
                let created_at = rfc3339(SystemTime::now());
                return Ok(json(answer.loaded(Moment {
                    created_at: &created_at,
                    elapsed_ns: 0,
                })));
            }
        };
        let Target::Engine(route) = route::target(forward.path) else {
            return Err(GatewayError::no_such_route(forward.path));
        };
        let name = self.known_name(&forward.model);
        let body = if name == forward.model {
            Bytes::from(forward.body.clone())
        } else {
            crate::model_name::with_model(&parts.headers, &forward.body, name).unwrap_or_default()
        };
        let mut inner = RequestBody::from(body);
        if let Some(caller) = caller {
            inner = inner.sent_by(caller);
        }
        if let Some(principal) = principal {
            inner.set_principal(principal);
        }
        for_engine(&mut parts, forward.path);
        let response = self.serve(route, None, &mut parts, &mut inner).await;
        Ok(respond(&forward, started, response).await)
    }

    /// Reads the body of a request, decoded.
    async fn read(&self, request: Request<RequestBody>) -> Result<(Parts, Bytes), GatewayError> {
        let (parts, mut body) = request.into_parts();
        let body = body
            .read_decoded(&parts.headers, self.config.max_body_bytes)
            .await?;
        let text = without_byte_order_mark(&body);
        let text = body.slice_ref(text);
        Ok((parts, text))
    }

    /// The name of a model without Ollama's tag for names without one, unless a model has it.
    fn known_name<'n>(&self, name: &'n str) -> &'n str {
        let is_known = |name: &str| {
            let model = self.config.aliases.target(name).unwrap_or(name);
            self.admission.names(model)
        };
        match name.strip_suffix(LATEST) {
            Some(shorter) if !is_known(name) && is_known(shorter) => shorter,
            _ => name,
        }
    }
}

fn invalid(error: &RequestError) -> GatewayError {
    GatewayError::new(ErrorCode::InvalidRequest, error.to_string())
}

/// Makes it a request for another path, with a JSON body.
fn for_engine(parts: &mut Parts, path: &'static str) {
    parts.method = Method::POST;
    parts.uri = Uri::from_static(path);
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, JSON);
}

/// Translates the response of an engine, or an error of this gateway.
async fn respond(
    request: &OpenAiRequest,
    started: Instant,
    response: Response<GatewayBody>,
) -> Response<GatewayBody> {
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    let answer = Answer::new(request.kind, &request.model);
    if head.status.is_success() && request.is_streamed {
        head.headers.insert(CONTENT_TYPE, LINES);
        let body = OllamaBody::new(body, answer, started);
        return Response::from_parts(head, GatewayBody::translated(body));
    }
    head.headers.insert(CONTENT_TYPE, JSON);
    let is_success = head.status.is_success();
    let whole = match read_whole(body, is_success).await {
        Some(whole) => whole,
        None => {
            head.status = StatusCode::BAD_GATEWAY;
            return Response::from_parts(
                head,
                GatewayBody::whole(ollama_api::error("the answer broke off").into()),
            );
        }
    };
    let translated = if is_success {
        let created_at = rfc3339(SystemTime::now());
        answer.whole(
            &whole,
            Moment {
                created_at: &created_at,
                elapsed_ns: nanos_since(started),
            },
        )
    } else {
        ollama_api::error_of(&whole)
    };
    Response::from_parts(head, GatewayBody::whole(translated.into()))
}

/// The whole body; `None` when it broke off. Of an error, only its beginning.
async fn read_whole(mut body: GatewayBody, is_success: bool) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        whole.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default());
        if !is_success && whole.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    Some(whole)
}

fn json(body: Vec<u8>) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::whole(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
