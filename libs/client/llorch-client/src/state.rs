//! All state of a control plane, as one file.

use crate::{client::Client, error::ClientError};

impl Client {
    /// `POST /v2/store/export`: the content of the file, which has at most so many bytes. Making it
    /// may take as long as the server needs.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn export_state(&self, most_bytes: u64) -> Result<Vec<u8>, ClientError> {
        self.transport()
            .post_for_bytes("/v2/store/export", most_bytes)
    }
}
