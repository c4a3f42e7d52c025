//! The registry from outside: only its public functions are used.

mod absent;
mod asleep;
mod events;
mod model;
mod probing;
mod routing;
mod stress;
mod support;
