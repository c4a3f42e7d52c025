//! The GPUs, CPU cores and memory of this machine.
