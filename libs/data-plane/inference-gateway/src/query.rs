//! The query of a request: the model that it names, and the credentials that end here.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Parameters that hold credentials for this server.
const CREDENTIALS: [&str; 3] = ["api_key", "api-key", "access_token"];

/// The query for the engine: the client's without credentials. `None` when nothing changes.
pub(crate) fn without_credentials(query: &str) -> Option<String> {
    if query.is_empty() {
        return None;
    }
    let is_credential = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        CREDENTIALS.contains(&decoded(name).to_ascii_lowercase().as_str())
    };
    let pairs = || query.split('&');
    pairs().any(|pair| is_credential(&pair)).then(|| {
        let others: Vec<&str> = pairs().filter(|pair| !is_credential(pair)).collect();
        others.join("&")
    })
}

/// The model that a query names.
pub(crate) fn model(query: &str) -> Option<Cow<'_, str>> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(name, _)| *name == "model")
        .map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-105
    #[test]
    fn credentials_end_here() {
        for (query, expected) in [
            ("", None),
            ("beta=true", None),
            ("keys=1&token_count=2", None),
            ("api_key=secret", Some("")),
            ("api_key", Some("")),
            ("a=1&api_key=secret&b=2", Some("a=1&b=2")),
            ("api%5Fkey=secret&b=%20", Some("b=%20")),
            ("API-KEY=secret&x", Some("x")),
            ("access_token=secret&access_token=other", Some("")),
        ] {
            assert_eq!(without_credentials(query).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn a_query_may_name_the_model() {
        assert_eq!(model("x=1&model=org%2Fname"), Some("org/name".into()));
        assert_eq!(model("models=1"), None);
    }
}
