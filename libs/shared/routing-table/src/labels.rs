//! Endpoints' names in the form in which every answer carries them.

use http::HeaderValue;

use crate::EndpointKey;

/// An endpoint's name as the values of headers, made once and not for each answer. Ids are header values by their own
/// rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The node.
    pub node: HeaderValue,
    /// The pool.
    pub pool: HeaderValue,
    /// The replica, where the endpoint is one.
    pub replica: Option<HeaderValue>,
}

impl Labels {
    pub(crate) fn of(key: &EndpointKey) -> Self {
        let value = |id: &str| HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("-"));
        Self {
            node: value(key.node.as_str()),
            pool: value(key.pool.as_str()),
            replica: key.replica.as_ref().map(|replica| value(replica.as_str())),
        }
    }
}
