//! Documents that are written from what the daemons print: settings, limits and OpenAPI.
//!
//! Each is checked against the code, and written anew by `cargo xtask settings|limits|openapi
//! --write`.

mod document;
pub mod limits;
pub mod settings;
pub mod unit_files;

pub use self::document::Document;
