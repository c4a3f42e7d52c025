//! Logs and metrics set-up shared by the daemons.
