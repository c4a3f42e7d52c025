//! The query of a list of nodes: `?limit=`, `?after=`, `?status=` and `?model=`.

use std::borrow::Cow;

use http_server::ApiError;
use percent_encoding::percent_decode_str;
use pool_registry_types::{MAX_MODEL_NAME_BYTES, NodeId, NodeStatus, is_model_name};
use service_registry::NodeFilter;

use crate::limits::MAX_PAGE_NODES;

/// All statuses, in the order of an error message.
const STATUSES: [NodeStatus; 4] = [
    NodeStatus::Online,
    NodeStatus::Draining,
    NodeStatus::Unreachable,
    NodeStatus::Offline,
];

/// One page of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodesQuery {
    /// The most nodes.
    pub limit: usize,
    /// Only nodes after this one.
    pub after: Option<NodeId>,
    /// Only nodes that pass.
    pub filter: NodeFilter,
}

/// The parameters of a page, for the OpenAPI document.
#[cfg(feature = "openapi")]
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "`NodesQuery` parses them")]
pub(crate) struct PageParameters {
    /// The most nodes.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only nodes after this one; see `next_after`.
    after: Option<NodeId>,
}

impl Default for NodesQuery {
    /// The first page of all nodes.
    fn default() -> Self {
        Self {
            limit: MAX_PAGE_NODES,
            after: None,
            filter: NodeFilter::default(),
        }
    }
}

impl NodesQuery {
    /// Unknown parameters are ignored, as unknown fields are.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (name, value) in parameters(query) {
            match &*name {
                "status" => parsed.filter.status = Some(status(&value?)?),
                "model" => parsed.filter.model = Some(model(value?)?),
                _ => parsed.take_page(&name, value)?,
            }
        }
        Ok(parsed)
    }

    /// Parses the query of an answer without filters.
    pub(crate) fn parse_page(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (name, value) in parameters(query) {
            parsed.take_page(&name, value)?;
        }
        Ok(parsed)
    }

    fn take_page(
        &mut self,
        name: &str,
        value: Result<Cow<'_, str>, ApiError>,
    ) -> Result<(), ApiError> {
        match name {
            "limit" => {
                let limit = value?
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_PAGE_NODES).contains(limit));
                let wrong = || {
                    ApiError::invalid(format!(
                        "limit: must be a number from 1 to {MAX_PAGE_NODES}"
                    ))
                };
                self.limit = limit.ok_or_else(wrong)?;
            }
            "after" => {
                let wrong =
                    |error| ApiError::invalid(format!("after: must be the id of a node: {error}"));
                self.after = Some(value?.parse().map_err(wrong)?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn status(value: &str) -> Result<NodeStatus, ApiError> {
    let known = STATUSES.into_iter().find(|status| status.as_str() == value);
    known.ok_or_else(|| {
        let words = STATUSES.map(NodeStatus::as_str).join(", ");
        ApiError::invalid(format!("status: must be one of {words}"))
    })
}

fn model(value: Cow<'_, str>) -> Result<String, ApiError> {
    if is_model_name(&value) {
        return Ok(value.into_owned());
    }
    let message = format!(
        "model: must be the name of a model, 1 to {MAX_MODEL_NAME_BYTES} bytes without control \
         characters"
    );
    Err(ApiError::invalid(message))
}

/// Names and values of a query, decoded as those of an HTML form.
fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Result<Cow<'_, str>, ApiError>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // A name that is not UTF-8 is unknown.
        let name = decoded(name).unwrap_or_default();
        let value =
            decoded(value).ok_or_else(|| ApiError::invalid(format!("{name}: must be UTF-8 text")));
        (name, value)
    })
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> NodesQuery {
        NodesQuery::parse(query).unwrap()
    }

    // spec: SEE-30, SEE-31
    #[test]
    fn a_query_is_read() {
        assert_eq!(parsed(""), NodesQuery::default());
        assert_eq!(parsed("later=x&=&%ff=1"), NodesQuery::default());
        assert_eq!(
            parsed("limit=5&after=gpu-1&status=offline&model=org%2Fa%20name"),
            NodesQuery {
                limit: 5,
                after: Some("gpu-1".parse().unwrap()),
                filter: NodeFilter {
                    status: Some(NodeStatus::Offline),
                    model: Some("org/a name".to_owned()),
                },
            }
        );
        assert_eq!(parsed("model=a+b%2B").filter.model.as_deref(), Some("a b+"));
        assert_eq!(parsed("limit=1000").limit, 1000);
        let page = NodesQuery::parse_page("limit=5&status=gone").unwrap();
        assert_eq!((page.limit, page.filter), (5, NodeFilter::default()));
    }

    // spec: SEE-30, SEE-31
    #[test]
    fn a_wrong_value_is_refused_with_its_parameter_and_the_valid_values() {
        for (query, message) in [
            ("limit=0", "limit: must be a number from 1 to 1000"),
            ("limit=1001", "limit: must be a number from 1 to 1000"),
            ("limit", "limit: must be a number from 1 to 1000"),
            ("limit=ten", "limit: must be a number from 1 to 1000"),
            ("after=", "after: must be the id of a node"),
            ("after=a%2Fb", "after: must be the id of a node"),
            ("after=%ff", "after: must be UTF-8 text"),
            (
                "status=",
                "status: must be one of online, draining, unreachable, offline",
            ),
            (
                "status=gone",
                "status: must be one of online, draining, unreachable, offline",
            ),
            (
                "model=",
                "model: must be the name of a model, 1 to 256 bytes without control characters",
            ),
            (
                "model=%C2%9B",
                "model: must be the name of a model, 1 to 256 bytes without control characters",
            ),
        ] {
            let error = NodesQuery::parse(query).unwrap_err();
            assert!(error.message.starts_with(message), "{query}: {error}");
            assert_eq!(error.status(), 400);
        }
        let long = format!("model={}", "x".repeat(MAX_MODEL_NAME_BYTES + 1));
        assert!(NodesQuery::parse(&long).is_err());
    }
}
