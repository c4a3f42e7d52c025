//! Answers of real engines, the schedule by hand, and a stand-in engine on a real socket.

mod answer;
mod figures;
mod identify;
mod probe;
mod prober;
mod schedule;
pub(crate) mod stand_in;
