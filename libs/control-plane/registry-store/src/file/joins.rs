//! Join tokens and revoked nodes in the file: one record each, in JSON.
//!
//! A file of an earlier version has no such tables, and that version leaves them alone. So the
//! schema's version stays the same.

use join_tokens::{Effect, JoinToken, NodeCredentials};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use serde::{Serialize, de::DeserializeOwned};

use super::schema::FileError;

type Records = TableDefinition<'static, &'static str, &'static [u8]>;

const TOKENS: Records = TableDefinition::new("join-tokens");
const REVOKED: Records = TableDefinition::new("revoked-nodes");

/// All of them. One that cannot be read is an error: without a revocation, a node that was revoked
/// would be let in again.
pub(super) fn read(
    database: &Database,
) -> Result<(Vec<JoinToken>, Vec<NodeCredentials>), FileError> {
    let tokens = read_table(database, TOKENS, |token: &JoinToken| &token.token_id)?;
    let revoked = read_table(database, REVOKED, |node: &NodeCredentials| {
        node.node_id.as_str()
    })?;
    Ok((tokens, revoked))
}

fn read_table<T: DeserializeOwned>(
    database: &Database,
    table: Records,
    id: impl Fn(&T) -> &str,
) -> Result<Vec<T>, FileError> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(table) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut records = Vec::new();
    for record in table.iter()? {
        let (key, value) = record?;
        records.push(decode(key.value(), value.value(), &id)?);
    }
    Ok(records)
}

fn decode<T: DeserializeOwned>(
    key: &str,
    value: &[u8],
    id: impl Fn(&T) -> &str,
) -> Result<T, FileError> {
    let record: T = serde_json::from_slice(value).map_err(|error| {
        FileError::Damaged(format!("the record {key:?} cannot be read: {error}"))
    })?;
    if id(&record) != key {
        let reason = format!("the record {key:?} is about another one");
        return Err(FileError::Damaged(reason));
    }
    Ok(record)
}

pub(super) fn write(database: &Database, changes: &[Effect]) -> Result<(), FileError> {
    let transaction = database.begin_write()?;
    {
        let mut tokens = transaction.open_table(TOKENS)?;
        let mut revoked = transaction.open_table(REVOKED)?;
        for change in changes {
            match change {
                Effect::SaveToken(token) => {
                    tokens.insert(&*token.token_id, encode(&**token)?.as_slice())?;
                }
                Effect::ForgetToken(token_id) => {
                    tokens.remove(&**token_id)?;
                }
                Effect::SaveNode(node) => {
                    revoked.insert(node.node_id.as_str(), encode(&**node)?.as_slice())?;
                }
                Effect::ForgetNode(node_id) => {
                    revoked.remove(node_id.as_str())?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
}

fn encode(record: &impl Serialize) -> Result<Vec<u8>, FileError> {
    serde_json::to_vec(record).map_err(|error| FileError::Failed(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As this version writes it.
    const RECORDED: &str = concat!(
        r#"{"token_id":"0123456789ab","token_sha256":"#,
        r#""0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","#,
        r#""node":"gpu-1","max_uses":3,"uses":1,"created_at_ms":1,"expires_at_ms":2}"#,
    );

    // spec: KEEP-61
    #[test]
    fn a_record_is_read_and_written_as_it_was() {
        let token = |record: &str| {
            decode("0123456789ab", record.as_bytes(), |token: &JoinToken| {
                &token.token_id
            })
        };
        let read = token(RECORDED).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), RECORDED);
        let later = RECORDED.replacen('{', r#"{"of_a_later_version":1,"#, 1);
        assert_eq!(token(&later).unwrap(), read);
        for wrong in ["", "{}", &RECORDED.replace("0123456789ab\"", "other\"")] {
            assert!(
                matches!(token(wrong), Err(FileError::Damaged(_))),
                "{wrong}"
            );
        }
    }
}
