//! Restart and reload of the engines of the pool file, for the API of the node.

use std::{error::Error as _, path::PathBuf};

use engine_provisioner::{ChangeError, PoolFile, PoolFileError, Provisioner};
use http_server::ApiError;
use node_api::{EngineChange, EngineControl};
use pool_registry_types::{ErrorCode, PoolId};

/// A pool file and its path, so that it can be read again.
#[derive(Debug, Clone)]
pub struct PoolFileAt {
    /// Its path.
    pub path: PathBuf,
    /// Its content.
    pub file: PoolFile,
    /// Variables of this process that no engine inherits, because they hold its secrets.
    pub withheld_variables: Vec<String>,
}

impl PoolFileAt {
    /// Reads the file at `path`. `secrets` names the variables of this process that hold its
    /// secrets.
    ///
    /// # Errors
    /// All problems with it, for people.
    pub fn read(path: PathBuf, secrets: &[&str]) -> Result<Self, String> {
        let withheld_variables = secrets.iter().map(|&name| name.to_owned()).collect();
        match PoolFile::read(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                withheld_variables,
            }),
            Err(error) => Err(with_cause(&error)),
        }
    }
}

fn with_cause(error: &PoolFileError) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// The engines of a node and the path of their pool file.
#[derive(Debug)]
pub(crate) struct PoolFileEngines {
    pub(crate) provisioner: Provisioner,
    pub(crate) path: PathBuf,
}

impl EngineControl for PoolFileEngines {
    fn restart(&self, pool: PoolId) -> EngineChange {
        let provisioner = self.provisioner.clone();
        Box::pin(async move {
            provisioner
                .restart(&pool)
                .await
                .map_err(|error| api_error(&error))
        })
    }

    fn reload(&self, pool: PoolId) -> EngineChange {
        let (provisioner, path) = (self.provisioner.clone(), self.path.clone());
        Box::pin(async move {
            let file = tokio::task::spawn_blocking(move || PoolFile::read(&path))
                .await
                .map_err(|error| reload_failed(error.to_string()))?
                .map_err(|error| reload_failed(with_cause(&error)))?;
            let spec = file.pools.into_iter().find(|spec| spec.pool_id == pool);
            let spec = spec.ok_or_else(|| {
                reload_failed(format!(
                    "the pool file names no pool {pool} any more; restart the agent to end its \
                     engines"
                ))
            })?;
            provisioner
                .reload(spec)
                .await
                .map_err(|error| api_error(&error))
        })
    }
}

fn reload_failed(message: String) -> ApiError {
    ApiError::new(ErrorCode::ReloadFailed, message)
}

fn api_error(error: &ChangeError) -> ApiError {
    let code = match error {
        ChangeError::UnknownPool(_) => ErrorCode::EnginesNotOurs,
        ChangeError::NotReady { .. } | ChangeError::NotBack { .. } => ErrorCode::ReloadFailed,
        ChangeError::Stopping => ErrorCode::ShuttingDown,
    };
    ApiError::new(code, error.to_string())
}
