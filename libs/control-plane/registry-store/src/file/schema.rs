//! What is in the file: one record per node as JSON, so that it can be read in ten years, and the
//! schema's version.

use std::{error::Error, io};

use pool_registry_types::NodeId;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use crate::{Change, StoredNode};

/// The schema this version writes. It rises when an older version could no longer understand a
/// record; a field that may be missing or ignored does not need that.
pub(super) const VERSION: u64 = 1;

/// Its name says whose file this is.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("llorch-registry");
const VERSION_KEY: &str = "schema";

const NODES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("nodes");

/// Why the file could not be used.
#[derive(Debug)]
pub(super) enum Fault {
    /// The disk or the operating system.
    Failed(Box<dyn Error + Send + Sync>),
    /// Another process has it.
    Held,
    Foreign(String),
    Damaged(String),
    Newer(u64),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Held,
            redb::Error::Corrupted(reason) => Self::Damaged(reason),
            error @ redb::Error::RepairAborted => Self::Damaged(error.to_string()),
            error @ redb::Error::UpgradeRequired(_) => Self::Foreign(error.to_string()),
            // How redb says that the file does not begin as its files do.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Foreign(error.to_string())
            }
            redb::Error::Io(error) => Self::Failed(Box::new(error)),
            other => Self::Failed(Box::new(other)),
        }
    }
}

/// Makes an empty file ours.
pub(super) fn initialise(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(VERSION_KEY, VERSION)?;
    transaction.open_table(NODES)?;
    Ok(transaction.commit()?)
}

/// Whether the file is ours, and one that this version understands.
pub(super) fn check(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_read()?;
    let version = match transaction.open_table(META) {
        Ok(meta) => meta.get(VERSION_KEY)?.map(|version| version.value()),
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(Fault::Foreign(
                "it is a database of another program".to_owned(),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    match version {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(Fault::Newer(found)),
        found => Err(Fault::Damaged(format!("its schema is {found:?}"))),
    }
}

/// What the file holds.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) nodes: Vec<StoredNode>,
    /// Nodes whose registration cannot be read, and why. Among `nodes` they are without it.
    pub(super) unregistered: Vec<(NodeId, serde_json::Error)>,
}

pub(super) fn read(database: &Database) -> Result<Records, Fault> {
    let transaction = database.begin_read()?;
    let mut records = Records::default();
    for record in transaction.open_table(NODES)?.iter()? {
        let (key, value) = record?;
        records.decode(key.value(), value.value())?;
    }
    Ok(records)
}

impl Records {
    /// What a node registered and reported it says anew within a heartbeat, so that this may be
    /// missing. Its drains are nowhere else: a record without them is not skipped, because it
    /// may be of a machine that must not be touched.
    pub(super) fn decode(&mut self, key: &str, value: &[u8]) -> Result<(), Fault> {
        let cannot_be_read = |error| {
            Fault::Damaged(format!(
                "the record of node {key:?} cannot be read: {error}"
            ))
        };
        let (node, trouble) = match serde_json::from_slice(value) {
            Ok(node) => (node, None),
            Err(error) => (
                StoredNode::operators_part(value).map_err(cannot_be_read)?,
                Some(error),
            ),
        };
        if !node.is_of(key) {
            return Err(Fault::Damaged(format!(
                "the record of node {key:?} is about another node"
            )));
        }
        self.unregistered
            .extend(trouble.map(|error| (node.node_id().clone(), error)));
        self.nodes.push(node);
        Ok(())
    }
}

pub(super) fn encode(node: &StoredNode) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(node).map_err(|error| Fault::Failed(Box::new(error)))
}

pub(super) fn write(database: &Database, changes: &[Change]) -> Result<(), Fault> {
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
