//! The content of the file: one record per node, in JSON, and the version of the schema.

use std::{error::Error, io};

use pool_registry_types::NodeId;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use crate::{Change, StoredNode};

/// The version of the schema. It rises with a change that older versions cannot understand; an
/// optional field is no such change.
pub(super) const VERSION: u64 = 1;

/// Its name identifies a file of the registry.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("llorch-registry");
const VERSION_KEY: &str = "schema";

const NODES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("nodes");

/// Why the file could not be used.
#[derive(Debug)]
pub(super) enum FileError {
    /// The disk or the operating system failed.
    Failed(Box<dyn Error + Send + Sync>),
    /// Another process uses the file.
    Held,
    Foreign(String),
    Damaged(String),
    Newer(u64),
}

impl<E: Into<redb::Error>> From<E> for FileError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Held,
            redb::Error::Corrupted(reason) => Self::Damaged(reason),
            error @ redb::Error::RepairAborted => Self::Damaged(error.to_string()),
            error @ redb::Error::UpgradeRequired(_) => Self::Foreign(error.to_string()),
            // redb reports a file without its magic number like this.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Foreign(error.to_string())
            }
            redb::Error::Io(error) => Self::Failed(Box::new(error)),
            other => Self::Failed(Box::new(other)),
        }
    }
}

/// Writes the schema into an empty file.
pub(super) fn initialise(database: &Database) -> Result<(), FileError> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(VERSION_KEY, VERSION)?;
    transaction.open_table(NODES)?;
    Ok(transaction.commit()?)
}

/// Checks that the file is a store of a version that this one understands.
pub(super) fn check(database: &Database) -> Result<(), FileError> {
    let transaction = database.begin_read()?;
    let version = match transaction.open_table(META) {
        Ok(meta) => meta.get(VERSION_KEY)?.map(|version| version.value()),
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(FileError::Foreign(
                "it is a database of another program".to_owned(),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    match version {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(FileError::Newer(found)),
        found => Err(FileError::Damaged(format!("its schema is {found:?}"))),
    }
}

/// The records of the file.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) nodes: Vec<StoredNode>,
    /// Nodes whose registration cannot be read, with the error. `nodes` has their drains.
    pub(super) unregistered: Vec<(NodeId, serde_json::Error)>,
}

pub(super) fn read(database: &Database) -> Result<Records, FileError> {
    let transaction = database.begin_read()?;
    let mut records = Records::default();
    for record in transaction.open_table(NODES)?.iter()? {
        let (key, value) = record?;
        records.decode(key.value(), value.value())?;
    }
    Ok(records)
}

impl Records {
    /// Adds a record. An unreadable registration is left out, because the node repeats it within a
    /// heartbeat. Unreadable drains are an error: they exist nowhere else, and the machine may be
    /// under repair.
    pub(super) fn decode(&mut self, key: &str, value: &[u8]) -> Result<(), FileError> {
        let cannot_be_read = |error| {
            FileError::Damaged(format!(
                "the record of node {key:?} cannot be read: {error}"
            ))
        };
        let (node, trouble) = match serde_json::from_slice(value) {
            Ok(node) => (node, None),
            Err(error) => (
                StoredNode::drains_only(value).map_err(cannot_be_read)?,
                Some(error),
            ),
        };
        if !node.is_of(key) {
            return Err(FileError::Damaged(format!(
                "the record of node {key:?} is about another node"
            )));
        }
        self.unregistered
            .extend(trouble.map(|error| (node.node_id().clone(), error)));
        self.nodes.push(node);
        Ok(())
    }
}

pub(super) fn encode(node: &StoredNode) -> Result<Vec<u8>, FileError> {
    serde_json::to_vec(node).map_err(|error| FileError::Failed(Box::new(error)))
}

pub(super) fn write(database: &Database, changes: &[Change]) -> Result<(), FileError> {
    let transaction = database.begin_write()?;
    {
        let mut nodes = transaction.open_table(NODES)?;
        for change in changes {
            match change {
                Change::Put(node) => {
                    nodes.insert(node.node_id().as_str(), encode(node)?.as_slice())?;
                }
                Change::Remove(node_id) => {
                    nodes.remove(node_id.as_str())?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
}
