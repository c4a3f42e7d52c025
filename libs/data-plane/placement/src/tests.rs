//! The rules of placement, one table of cases each, and what must hold for every routing table.

mod affinity;
mod explain;
mod fixture;
mod load;
mod random;
