//! The registry from outside: only its public functions are used.

mod absent;
mod asleep;
mod events;
mod hints;
mod model;
mod probing;
mod stress;
mod support;
