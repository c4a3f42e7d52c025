//! The registry from outside: only its public functions are used.

mod absent;
mod claims;
mod events;
mod hints;
mod model;
mod probing;
mod scaled_to_zero;
mod stress;
mod support;
