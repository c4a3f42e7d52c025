//! Tests of the parts, then of the watcher on a real directory.

mod directory_watch;
mod hint_queue;
mod index;
mod model;
mod read;
mod scan;
mod support;
mod watcher;
