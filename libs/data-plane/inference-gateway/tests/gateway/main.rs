//! The gateway over real sockets, with stand-in engines that misbehave as each test tells them to.

mod harness;

mod answers;
mod cancel;
mod failures;
mod refusals;
