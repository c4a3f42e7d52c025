//! The task, timers and node probes around the pure service-registry.
