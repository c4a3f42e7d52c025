//! The parts one by one, then the whole on a real directory.

mod arm;
mod core;
mod directory;
mod inbox;
mod model;
mod read;
mod support;
mod watcher;
