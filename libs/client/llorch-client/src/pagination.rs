//! Lists that the server sends in pages.

use std::fmt::Write as _;

use pool_registry_types::{NodeId, NodeStatus};
use serde_json::Value;

use crate::{error::ClientError, response::Response, transport::Transport};

/// The most nodes of one page.
const PAGE: usize = 1000;

/// The field with the last node of a page, when there are more.
const NEXT_AFTER: &str = "next_after";

/// Which nodes to list. The default lists all.
///
/// ```
/// use llorch_client::{NodeStatus, NodesQuery};
///
/// let query = NodesQuery::default().status(NodeStatus::Offline).limit(20);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct NodesQuery {
    status: Option<NodeStatus>,
    model: Option<String>,
    limit: Option<usize>,
}

impl NodesQuery {
    /// Only nodes in this state.
    pub fn status(mut self, status: NodeStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Only nodes with an endpoint that has this model, ready or not.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// At most this number of nodes.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    fn filters(&self) -> String {
        let mut query = String::new();
        if let Some(status) = self.status {
            let _ = write!(query, "&status={status}");
        }
        if let Some(model) = &self.model {
            let _ = write!(query, "&model={}", percent_encoded(model));
        }
        query
    }
}

/// Requests the pages of `path` until the limit of the query. The result is the first page with the
/// entries of all in its field `list`.
///
/// A server of version 0.1.0 has no pages and sends everything at once.
pub(crate) fn all_pages<T>(
    transport: &Transport,
    path: &str,
    list: &str,
    query: &NodesQuery,
) -> Result<Response<T>, ClientError> {
    let mut left = query.limit.unwrap_or(usize::MAX);
    let mut all: Response<T> = transport.get(&page_of(path, query, left, None))?;
    let mut after = None;
    loop {
        left = left.saturating_sub(PAGE);
        let next = next_after(&all.raw);
        // Stop as well at a server whose pages do not advance.
        if left == 0 || next <= after {
            return Ok(all);
        }
        let mut page: Response<T> = transport.get(&page_of(path, query, left, next.as_ref()))?;
        let Some(fields) = all.raw.as_object_mut() else {
            return Ok(all);
        };
        let entries = page.raw.get_mut(list).and_then(Value::as_array_mut);
        let entries = entries.map(std::mem::take).unwrap_or_default();
        if let Some(list) = fields.get_mut(list).and_then(Value::as_array_mut) {
            list.extend(entries);
        }
        match page.raw.get_mut(NEXT_AFTER) {
            Some(next) => fields.insert(NEXT_AFTER.to_owned(), next.take()),
            None => fields.remove(NEXT_AFTER),
        };
        after = next;
    }
}

fn page_of(path: &str, query: &NodesQuery, left: usize, after: Option<&NodeId>) -> String {
    let mut page = format!("{path}?limit={}{}", left.min(PAGE), query.filters());
    if let Some(after) = after {
        let _ = write!(page, "&after={after}");
    }
    page
}

/// The node after which the next page begins.
fn next_after(answer: &Value) -> Option<NodeId> {
    answer.get(NEXT_AFTER)?.as_str()?.parse().ok()
}

/// Percent-encodes the value of a query parameter (RFC 3986, section 2.3).
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLI-30
    #[test]
    fn filters_become_query_parameters() {
        let query = NodesQuery::default()
            .status(NodeStatus::Offline)
            .model("org/a+b é");
        assert_eq!(
            query.filters(),
            "&status=offline&model=org%2Fa%2Bb%20%C3%A9"
        );
        assert_eq!(NodesQuery::default().filters(), "");
    }
}
