//! Extractors for control routes, whose errors name the field at fault.

use axum::{
    extract::{
        FromRequest, FromRequestParts, OptionalFromRequest, Path, Request, path::ErrorKind,
        rejection::PathRejection,
    },
    http::request::Parts,
};
use bytes::Bytes;
use pool_registry_types::ErrorCode;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::{ApiError, BodyError, body::collect, content_coding, whole_numbers::whole_numbers};

/// The largest body of a control route: a heartbeat of a large node takes a few KiB.
pub const CONTROL_BODY_BYTES: usize = 64 * 1024;

/// The most bytes of an error message in a response: a message repeats the value at fault.
pub(crate) const MAX_MESSAGE_BYTES: usize = 512;

/// A JSON body of at most `MAX` bytes, whatever its `Content-Type`.
///
/// A body that does not fit `T` is refused with 400 and the path to the field at fault, as in
/// `pools[0].slots_free: invalid type: string, expected u32 at line 1 column 40`. No text of the
/// body is repeated.
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T, const MAX: usize = CONTROL_BODY_BYTES>(pub T);

impl<S: Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for ApiJson<T, MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = read_body(request, MAX).await?;
        read_json(&body).map(Self)
    }
}

/// `Option<ApiJson<T>>`: `None` for an empty body and for `null`.
impl<S: Sync, T: DeserializeOwned, const MAX: usize> OptionalFromRequest<S> for ApiJson<T, MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, ApiError> {
        let body = read_body(request, MAX).await?;
        if matches!(body.trim_ascii(), b"" | b"null") {
            return Ok(None);
        }
        read_json(&body).map(Self).map(Some)
    }
}

/// Reads and decodes the body of a request to an axum route, if it has at most `cap` bytes.
///
/// # Errors
/// When it is too large or too slow, breaks off, or cannot be decoded.
pub async fn read_body(request: Request, cap: usize) -> Result<Bytes, BodyError> {
    let (parts, body) = request.into_parts();
    let coding = content_coding::coding(&parts.headers)?;
    let body = collect(body, cap).await?;
    content_coding::decode(coding, body, cap).await
}

/// Parses a body like [`ApiJson`].
///
/// # Errors
/// When it does not fit `T`.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = without_byte_order_mark(body);
    if body.trim_ascii().is_empty() {
        return Err(ApiError::invalid(
            "the body is empty; a JSON object is needed",
        ));
    }
    // By default a list would be read as the fields of a struct, in order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::invalid(
            "the body is a list; a JSON object is needed",
        ));
    }
    read(body).or_else(|error| {
        // Only an invalid body is parsed a second time. The error stays the same.
        let whole = whole_numbers(body).ok_or_else(|| error.clone())?;
        read(&whole).map_err(|_| error)
    })
}

/// A body without the byte order mark that some programs put before a text. It has no meaning in
/// UTF-8, and a parser may ignore it (RFC 8259, section 8.1).
#[must_use]
pub fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        match error.inner().classify() {
            Category::Data => invalid(without_value(&error.to_string())),
            _ => invalid(format!("the body is not valid JSON: {}", error.inner())),
        }
    })?;
    json.end()
        .map_err(|error| invalid(format!("the body is not valid JSON: {error}")))?;
    Ok(value)
}

/// Without the text that serde repeats in `invalid type: string "…", expected …`: it may be a
/// prompt or a secret.
fn without_value(message: &str) -> String {
    const BEFORE: &str = ": string \"";
    const AFTER: &str = "\", expected ";
    let begin = message.find(BEFORE);
    let end = message.rfind(AFTER);
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => {
            // Both begin and end with ASCII characters.
            let (kept, rest) = (message.get(..begin), message.get(end + 1..));
            format!(
                "{}: string{}",
                kept.unwrap_or_default(),
                rest.unwrap_or_default()
            )
        }
        _ => message.to_owned(),
    }
}

fn invalid(mut message: String) -> ApiError {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    ApiError::invalid(message)
}

/// The parameters of a route's path, checked while they are deserialised; an invalid one is refused
/// with 400.
#[derive(Debug, Clone, Copy)]
pub struct ApiPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(path_error)?;
        Ok(Self(value))
    }
}

fn path_error(rejection: PathRejection) -> ApiError {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        tracing::error!(%rejection, "a route and its handler do not fit each other");
        return ApiError::new(ErrorCode::Internal, "this route is broken");
    };
    match failed.into_kind() {
        // The ids of this project describe their own form.
        ErrorKind::DeserializeError { message, .. } | ErrorKind::Message(message) => {
            invalid(message)
        }
        ErrorKind::InvalidUtf8InPathParam { key } => invalid(format!("{key} must be UTF-8 text")),
        mismatch @ (ErrorKind::WrongNumberOfParameters { .. }
        | ErrorKind::UnsupportedType { .. }) => {
            tracing::error!(%mismatch, "a route and its handler do not fit each other");
            ApiError::new(ErrorCode::Internal, "this route is broken")
        }
        other => invalid(format!("the path is not valid: {other}")),
    }
}
