//! The parts that every daemon needs: signals, a shutdown token, named joined tasks, readiness
//! latches and threads for connections.
//!
//! A daemon built from these parts stops in a fixed order: a signal requests the [`Shutdown`],
//! servers stop accepting and drain, [`Tasks::join`] waits for the remaining tasks and names those
//! that miss the deadline.
//!
//! ```
//! use std::time::Duration;
//! use service_runtime::{Readiness, Shutdown, Tasks};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = Shutdown::new();
//! let tasks = Tasks::new(shutdown.clone());
//! service_runtime::signals(shutdown.clone(), &tasks)?;
//!
//! let readiness = Readiness::new();
//! let warm = readiness.latch("warm-up");
//! let stop = shutdown.clone();
//! tasks.spawn("worker", async move {
//!     warm.release();
//!     stop.requested().await;
//! });
//! # shutdown.request();
//!
//! shutdown.requested().await;
//! readiness.stopping();
//! tasks.join(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

mod connection_threads;
mod descriptors;
pub mod env;
mod manager;
mod readiness;
mod shutdown;
mod signals;
mod tasks;

pub use connection_threads::{AssignedThread, ConnectionThreads, ConnectionThreadsHandle};
pub use descriptors::raise_descriptor_limit;
pub use manager::{ServiceManager, SocketError, inherited_listener};
pub use readiness::{Latch, Readiness};
pub use shutdown::Shutdown;
pub use signals::{EXIT_SECOND_SIGNAL, signals};
pub use tasks::{StillRunning, TaskPanicked, Tasks};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
