//! The text of a file of keys.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use bearer_auth::{
    AccessToken, AccessTokenError, Credential, Identity, KeyLimits, MAX_KEY_NAME_CHARS, Scope,
    Scopes, TokenDigest, is_key_name, without_tokens,
};
use pool_registry_types::{NodeId, one_line};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::key_limits as limits;

/// The longest text of a problem. It may repeat a name of the file.
const PROBLEM_BYTES: usize = 512;

/// The one list of the file.
const LIST: &str = "key";

/// What is wrong with a file, in one sentence. It never repeats a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct KeyFileProblem {
    /// The line, from 1.
    pub line: usize,
    /// The field, and what would be right.
    pub what: String,
}

/// A problem at an offset of the text.
type Problem = (usize, String);

/// The keys of a file.
///
/// # Errors
/// The first problem.
pub fn parse(text: &str) -> Result<Vec<Credential>, KeyFileProblem> {
    read(text).map_err(|(offset, what)| {
        let before = text.bytes().take(offset);
        KeyFileProblem {
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
            what: one_line(&without_tokens(&what), PROBLEM_BYTES),
        }
    })
}

fn read(text: &str) -> Result<Vec<Credential>, Problem> {
    let (file, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        let at = error.span().map_or(0, |span| span.start);
        return Err((at, error.message().trim().to_owned()));
    }
    let file = file.get_ref();
    if let Some((other, _)) = file.iter().find(|(name, _)| name.get_ref() != LIST) {
        let what = format!(
            "unknown key `{}`: the file holds [[{LIST}]]",
            other.get_ref()
        );
        return Err((other.span().start, what));
    }
    // An empty file is a file without keys, and not a mistake.
    let Some(list) = file.get(LIST) else {
        return Ok(Vec::new());
    };
    let DeValue::Array(list) = list.get_ref() else {
        return Err((
            list.span().start,
            format!("`{LIST}` must be a list: write [[{LIST}]]"),
        ));
    };
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    let mut keys = Vec::new();
    for entry in list {
        let at = entry.span().start;
        let DeValue::Table(table) = entry.get_ref() else {
            return Err((at, format!("`{LIST}` must be a table: write [[{LIST}]]")));
        };
        let key = one_key(at, table)?;
        if !names.insert(Arc::clone(&key.identity.name)) {
            return Err((at, format!("name: {:?} is there twice", key.identity.name)));
        }
        if !digests.insert(key.digest) {
            return Err((
                at,
                "token: another key of this file has the same one".to_owned(),
            ));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// The fields of a key as they are written, with their offsets.
#[derive(Default)]
struct Fields {
    name: Option<Arc<str>>,
    digest: Option<TokenDigest>,
    scopes: Scopes,
    node: Option<NodeId>,
    expires_at: Option<SystemTime>,
    limits: KeyLimits,
}

fn one_key(at: usize, table: &DeTable<'_>) -> Result<Credential, Problem> {
    let mut fields = Fields::default();
    for (field, value) in table {
        fields
            .take(field.get_ref(), value)
            .map_err(|what| (value.span().start, what))?;
    }
    let missing = |what: &str| (at, what.to_owned());
    let name = fields.name.ok_or_else(|| missing("name: is missing"))?;
    let digest = fields
        .digest
        .ok_or_else(|| missing("token_sha256: is missing, and so is token"))?;
    if fields.scopes.is_empty() {
        return Err(missing(
            "scopes: must hold client, node, observer or operator",
        ));
    }
    match (fields.scopes.contains(Scope::Node), &fields.node) {
        (true, None) => {
            return Err(missing(
                "node: a key with the scope node needs the id of its node",
            ));
        }
        (false, Some(_)) => {
            return Err(missing(
                "node: only a key with the scope node belongs to a node",
            ));
        }
        _ => {}
    }
    if !fields.limits.is_default() && !fields.scopes.with_included().contains(Scope::Client) {
        return Err(missing(
            "limits: only a key with the scope client or operator uses models",
        ));
    }
    Ok(Credential {
        digest,
        identity: Arc::new(Identity {
            id: digest.short().into(),
            name,
            scopes: fields.scopes,
            node: fields.node,
            expires_at: fields.expires_at,
            limits: fields.limits,
        }),
        valid_until: None,
        is_revoked: false,
    })
}

impl Fields {
    fn take(&mut self, field: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        match field {
            "name" => self.name = Some(name(text(field, value)?)?),
            "token" => self.set_digest(token(text(field, value)?)?)?,
            "token_sha256" => {
                let digest = text(field, value)?.parse();
                self.set_digest(digest.map_err(|error| format!("token_sha256: {error}"))?)?;
            }
            "scopes" => self.scopes = scopes(value)?,
            "node" => {
                let node = NodeId::new(text(field, value)?);
                self.node = Some(node.map_err(|error| format!("node: {error}"))?);
            }
            "expires" => self.expires_at = Some(expires(value)?),
            "limits" => self.limits = limits::read(value)?,
            other => {
                return Err(format!(
                    "unknown key `{other}`: a key has name, token_sha256 or token, scopes, node, \
                     expires and limits"
                ));
            }
        }
        Ok(())
    }

    fn set_digest(&mut self, digest: TokenDigest) -> Result<(), String> {
        if self.digest.replace(digest).is_some() {
            return Err("token: write token or token_sha256, not both".to_owned());
        }
        Ok(())
    }
}

fn text<'a>(field: &str, value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(format!("{field}: must be a text in quotes")),
    }
}

fn name(name: &str) -> Result<Arc<str>, String> {
    if !is_key_name(name) {
        return Err(format!(
            "name: must have 1 to {MAX_KEY_NAME_CHARS} characters, without control characters and \
             without blanks at its ends"
        ));
    }
    Ok(name.into())
}

fn token(text: &str) -> Result<TokenDigest, String> {
    let token: Result<AccessToken, AccessTokenError> = text.parse();
    let token = token.map_err(|error| {
        format!("token: {error}; `llorch token generate` makes one, and others go as token_sha256")
    })?;
    Ok(token.digest())
}

fn scopes(value: &Spanned<DeValue<'_>>) -> Result<Scopes, String> {
    let DeValue::Array(list) = value.get_ref() else {
        return Err("scopes: must be a list, such as [\"client\"]".to_owned());
    };
    let mut scopes = Scopes::default();
    for scope in list {
        let scope = text("scopes", scope)?.parse::<Scope>();
        scopes = scopes.and(scope.map_err(|error| format!("scopes: {error}"))?);
    }
    Ok(scopes)
}

/// A time as TOML writes it, with quotes or without.
fn expires(value: &Spanned<DeValue<'_>>) -> Result<SystemTime, String> {
    let written = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        _ => String::new(),
    };
    humantime::parse_rfc3339(&written)
        .map_err(|_| "expires: must be a time in UTC, such as 2027-01-31T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";

    // spec: AUTH-40
    #[test]
    fn a_file_has_keys_of_both_forms() {
        let token = AccessToken::generate().unwrap();
        let text = format!(
            "[[key]]\nname = \"a\"\ntoken_sha256 = \"{DIGEST}\"\nscopes = [\"client\", \
             \"observer\"]\nexpires = 2027-01-31T00:00:00Z\n[[key]]\nname = \"b\"\ntoken = \
             \"{}\"\nscopes = [\"node\"]\nnode = \"gpu-1\"\n",
            token.reveal()
        );
        let [a, b] = parse(&text).unwrap().try_into().unwrap();
        assert_eq!(
            (a.digest.to_hex().as_str(), &*a.identity.name),
            (DIGEST, "a")
        );
        assert_eq!(a.identity.scopes.to_string(), "client, observer");
        assert!(a.identity.expires_at.is_some() && b.identity.expires_at.is_none());
        assert_eq!(b.digest, token.digest());
        assert_eq!(b.identity.node.as_ref().unwrap().as_str(), "gpu-1");
        assert!(parse("").unwrap().is_empty());
    }

    // spec: KEY-1
    #[test]
    fn a_key_of_a_file_has_limits() {
        let limits = "models = [\"tiny\"]\nrequests_per_minute = 1_000\nweight = 0x10\n";
        let text = format!(
            "[[key]]\nname = \"a\"\ntoken_sha256 = \"{DIGEST}\"\nscopes = [\"client\"]\n\
             [key.limits]\n{limits}"
        );
        let [key] = parse(&text).unwrap().try_into().unwrap();
        let limits = &key.identity.limits;
        assert!(limits.allows_model("tiny") && !limits.allows_model("other"));
        assert_eq!(
            (limits.requests_per_minute(), limits.weight()),
            (Some(1000), 16)
        );
    }

    // spec: AUTH-41, KEY-1
    #[test]
    fn a_problem_names_line_and_field_and_no_token() {
        let good = format!("[[key]]\nname = \"a\"\ntoken_sha256 = \"{DIGEST}\"\n");
        let with = |rest: &str| format!("{good}{rest}");
        let secret = "llorch_canary4711";
        for (text, expected) in [
            ("[[key]\n".to_owned(), "line 1: "),
            ("keys = 1\n".to_owned(), "line 1: unknown key `keys`"),
            ("key = 1\n".to_owned(), "line 1: `key` must be a list"),
            (with(""), "line 1: scopes: must hold"),
            (
                with("scopes = \"client\"\n"),
                "line 4: scopes: must be a list",
            ),
            (
                with("scopes = [\"client\",\n \"admin\"]\n"),
                "line 4: scopes: a scope is",
            ),
            (with("scopes = [\"node\"]\n"), "line 1: node: a key with"),
            (
                with("scopes = [\"client\"]\nnode = \"a\"\n"),
                "line 1: node: only",
            ),
            (
                with("scopes = [\"node\"]\nnode = \"a/b\"\n"),
                "line 5: node: ",
            ),
            (
                with("scopes = [\"node\"]\nnode = \"a\"\n[key.limits]\nweight = 2\n"),
                "line 1: limits: only a key with",
            ),
            (
                with("[key.limits]\nweight = 0\n"),
                "line 4: limits: weight: must be from 1 to 100",
            ),
            (
                with("[key.limits]\nrpm = 1\n"),
                "line 4: limits: unknown key `rpm`",
            ),
            (
                with("[key.limits]\ntokens_per_day = -1\n"),
                "line 4: limits: tokens_per_day: must be a whole number above 0",
            ),
            (
                with("limits = { models = [\"\"] }\n"),
                "line 4: limits: models: ",
            ),
            (
                with("[key.limits]\nhighest_priority = \"high\"\n"),
                "line 4: limits: highest_priority: must be interactive or batch",
            ),
            (
                with("expires = \"tomorrow\"\n"),
                "line 4: expires: must be a time in UTC",
            ),
            (with("expires = 2027-01-31\n"), "line 4: expires: "),
            (with("role = \"client\"\n"), "line 4: unknown key `role`"),
            (
                with(&format!("token = \"{secret}\"\n")),
                "line 4: token: the token is mistyped",
            ),
            (
                format!("[[key]]\ntoken_sha256 = \"{secret}\"\n"),
                "line 2: token_sha256: ",
            ),
            (
                "[[key]]\nname = 1\n".to_owned(),
                "line 2: name: must be a text",
            ),
            (
                "[[key]]\nname = \"\"\n".to_owned(),
                "line 2: name: must have",
            ),
            (
                "[[key]]\nscopes = []\n".to_owned(),
                "line 1: name: is missing",
            ),
            (
                "[[key]]\nname = \"a\"\n".to_owned(),
                "line 1: token_sha256: is missing",
            ),
            (
                format!("{0}scopes = [\"client\"]\n{0}scopes = [\"client\"]\n", good),
                "line 5: name: \"a\" is there twice",
            ),
            (
                "\"a\\nb\" = 1\n".to_owned(),
                "line 1: unknown key `a b`: the file",
            ),
            (
                "[[key]]\n\"\\u001b[2J\" = 1\n".to_owned(),
                "line 2: unknown key ` [2J`: a key",
            ),
            (
                format!("{} = 1\n", "x".repeat(100_000)),
                "line 1: unknown key `xxx",
            ),
        ] {
            let problem = parse(&text).unwrap_err().to_string();
            assert!(problem.starts_with(expected), "{text}: {problem}");
            assert!(!problem.contains("canary"), "{problem}");
            assert!(!problem.contains(char::is_control), "{problem:?}");
            assert!(problem.len() < 600, "{} bytes", problem.len());
        }
    }
}
