//! The rules of admission by topic, random histories, and interleavings of threads.

mod breakers;
mod choice;
mod conversations;
pub(super) mod fixture;
mod interleavings;
mod queueing;
mod random;
mod routes;
mod slots;
