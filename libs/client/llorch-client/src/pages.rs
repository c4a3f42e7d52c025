//! Lists that a server gives page by page, as one.

use std::fmt::Write as _;

use pool_registry_types::{NodeId, NodeStatus};
use serde_json::Value;

use crate::{Client, ClientError, Json};

/// The most nodes that a server gives at once.
const PAGE: usize = 1000;

/// The field that says that there are more.
const NEXT_AFTER: &str = "next_after";

/// Which nodes to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodesQuery {
    /// Those with this status.
    pub status: Option<NodeStatus>,
    /// Those with an endpoint that names this model.
    pub model: Option<String>,
    /// At most so many; all of them when there is none.
    pub limit: Option<usize>,
}

impl NodesQuery {
    fn filters(&self) -> String {
        let mut query = String::new();
        if let Some(status) = self.status {
            let _ = write!(query, "&status={status}");
        }
        if let Some(model) = &self.model {
            let _ = write!(query, "&model={}", encoded(model));
        }
        query
    }
}

impl Client {
    /// Follows the pages of `path`, whose answers hold a list of that name by node, up to so many
    /// nodes. The answer is the first one with the lists of all.
    ///
    /// A server of version 0.1.0 knows no pages and gives everything at once.
    pub(crate) fn pages<T>(
        &self,
        path: &str,
        list: &str,
        query: &NodesQuery,
    ) -> Result<Json<T>, ClientError> {
        let mut left = query.limit.unwrap_or(usize::MAX);
        let mut all: Json<T> = self.get(&page_of(path, query, left, None))?;
        let mut after = None;
        loop {
            left = left.saturating_sub(PAGE);
            let next = next_after(&all.raw);
            // A server that turns in circles is left alone.
            if left == 0 || next <= after {
                return Ok(all);
            }
            let mut page: Json<T> = self.get(&page_of(path, query, left, next.as_ref()))?;
            let Some(known) = all.raw.as_object_mut() else {
                return Ok(all);
            };
            let entries = page.raw.get_mut(list).and_then(Value::as_array_mut);
            let entries = entries.map(std::mem::take).unwrap_or_default();
            if let Some(list) = known.get_mut(list).and_then(Value::as_array_mut) {
                list.extend(entries);
            }
            match page.raw.get_mut(NEXT_AFTER) {
                Some(next) => known.insert(NEXT_AFTER.to_owned(), next.take()),
                None => known.remove(NEXT_AFTER),
            };
            after = next;
        }
    }
}

fn page_of(path: &str, query: &NodesQuery, left: usize, after: Option<&NodeId>) -> String {
    let mut page = format!("{path}?limit={}{}", left.min(PAGE), query.filters());
    if let Some(after) = after {
        let _ = write!(page, "&after={after}");
    }
    page
}

/// The node behind which the next page begins.
fn next_after(answer: &Value) -> Option<NodeId> {
    answer.get(NEXT_AFTER)?.as_str()?.parse().ok()
}

/// A value of a query (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
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
    fn what_is_asked_for_is_written_as_a_query() {
        let query = NodesQuery {
            status: Some(NodeStatus::Offline),
            model: Some("org/a+b é".to_owned()),
            limit: None,
        };
        assert_eq!(
            query.filters(),
            "&status=offline&model=org%2Fa%2Bb%20%C3%A9"
        );
        assert_eq!(NodesQuery::default().filters(), "");
    }
}
