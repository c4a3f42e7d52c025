//! Engines as real processes: started, crashed, hung, replaced, adopted and stopped.

mod adoption;
mod failures;
mod life;
mod node;
mod reload;
