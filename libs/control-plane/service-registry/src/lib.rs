//! Which GPU nodes are online: a pure state machine without I/O, clock or async runtime.
