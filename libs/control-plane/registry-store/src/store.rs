//! The trait of stores.

use std::{fmt, sync::Arc};

use access_keys::{AccessKey, Effect};
use join_tokens::{Effect as JoinEffect, JoinToken, NodeCredentials};
use pool_registry_types::NodeId;

use crate::{error::StoreError, stored::StoredNode};

/// Keeps nodes and drains across restarts.
///
/// The methods block. Async code calls them on a thread that may block.
pub trait RegistryStore: fmt::Debug + Send + Sync + 'static {
    /// All nodes, sorted by id.
    ///
    /// # Errors
    /// When the store cannot be read or understood.
    fn load(&self) -> Result<Vec<StoredNode>, StoreError>;

    /// Makes all changes, or none of them.
    ///
    /// When it returns, the changes survive a kill. Making them again changes nothing.
    ///
    /// # Errors
    /// When the store cannot be written. It may have the changes or not; make them again.
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;
}

/// Keeps the keys of clients across restarts. Their tokens are there as digests only.
///
/// The methods block, as those of [`RegistryStore`] do.
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// All keys, sorted by id.
    ///
    /// # Errors
    /// When the store cannot be read or understood.
    fn load_keys(&self) -> Result<Vec<AccessKey>, StoreError>;

    /// Makes all changes, or none of them. When it returns, they survive a kill.
    ///
    /// # Errors
    /// When the store cannot be written. It may have the changes or not; make them again.
    fn apply_keys(&self, changes: &[Effect]) -> Result<(), StoreError>;
}

/// Keeps join tokens and what is known of certificates of nodes across restarts. Tokens are there
/// as digests only.
///
/// The methods block, as those of [`RegistryStore`] do.
pub trait JoinStore: fmt::Debug + Send + Sync + 'static {
    /// All tokens and nodes, sorted by id.
    ///
    /// # Errors
    /// When the store cannot be read or understood.
    fn load_joins(&self) -> Result<(Vec<JoinToken>, Vec<NodeCredentials>), StoreError>;

    /// Makes all changes, or none of them. When it returns, they survive a kill.
    ///
    /// # Errors
    /// When the store cannot be written. It may have the changes or not; make them again.
    fn apply_joins(&self, changes: &[JoinEffect]) -> Result<(), StoreError>;
}

/// A store of everything, which can be read as of one moment.
pub trait StateStore: RegistryStore + KeyStore + JoinStore {
    /// All records. No change happens while they are read.
    ///
    /// # Errors
    /// When the store cannot be read or understood.
    fn load_all(&self) -> Result<StoredState, StoreError>;
}

/// All records of a store, each kind sorted by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredState {
    /// Nodes and drains.
    pub nodes: Vec<StoredNode>,
    /// The keys of clients.
    pub keys: Vec<AccessKey>,
    /// Join tokens.
    pub join_tokens: Vec<JoinToken>,
    /// Nodes with a certificate, and nodes whose certificates are refused.
    pub node_credentials: Vec<NodeCredentials>,
}

/// A change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Stores a node, and replaces its record.
    Put(Arc<StoredNode>),
    /// Removes the record of a node.
    Remove(NodeId),
}
