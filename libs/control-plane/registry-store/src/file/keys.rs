//! The keys in the file: one record per key, in JSON.
//!
//! A file of version 0.1.0 has no table of keys, and that version leaves the table alone. So the
//! schema's version stays the same.

use access_keys::{AccessKey, Effect};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use super::schema::FileError;

const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");

/// All keys. One that cannot be read is an error: it exists nowhere else, and leaving it out might
/// open the server to peers without a credential.
pub(super) fn read(database: &Database) -> Result<Vec<AccessKey>, FileError> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(KEYS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut keys = Vec::new();
    for record in table.iter()? {
        let (key_id, value) = record?;
        keys.push(decode(key_id.value(), value.value())?);
    }
    Ok(keys)
}

fn decode(key_id: &str, value: &[u8]) -> Result<AccessKey, FileError> {
    let key: AccessKey = serde_json::from_slice(value).map_err(|error| {
        FileError::Damaged(format!(
            "the record of key {key_id:?} cannot be read: {error}"
        ))
    })?;
    if *key.key_id != *key_id {
        return Err(FileError::Damaged(format!(
            "the record of key {key_id:?} is about another key"
        )));
    }
    Ok(key)
}

pub(super) fn write(database: &Database, changes: &[Effect]) -> Result<(), FileError> {
    let transaction = database.begin_write()?;
    {
        let mut keys = transaction.open_table(KEYS)?;
        for change in changes {
            match change {
                Effect::Save(key) => {
                    let record = serde_json::to_vec(key)
                        .map_err(|error| FileError::Failed(Box::new(error)))?;
                    keys.insert(&*key.key_id, record.as_slice())?;
                }
                Effect::Forget(key_id) => {
                    keys.remove(&**key_id)?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As this version writes it.
    const RECORDED: &str = concat!(
        r#"{"key_id":"0123456789ab","name":"n","scopes":["client","observer"],"#,
        r#""created_at_ms":1,"token_sha256":"#,
        r#""0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}"#,
    );

    // spec: KEEP-60
    #[test]
    fn a_record_is_read_and_written_as_it_was() {
        let key = decode("0123456789ab", RECORDED.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), RECORDED);
        let later = RECORDED.replacen('{', r#"{"of_a_later_version":1,"#, 1);
        assert_eq!(decode("0123456789ab", later.as_bytes()).unwrap(), key);
        for (key_id, record) in [
            ("other", RECORDED.to_owned()),
            ("0123456789ab", RECORDED.replace("observer", "of-later")),
            ("0123456789ab", RECORDED.replace("89abcdef", "")),
            ("0123456789ab", String::new()),
        ] {
            let error = decode(key_id, record.as_bytes());
            assert!(matches!(error, Err(FileError::Damaged(_))), "{record}");
        }
    }
}
