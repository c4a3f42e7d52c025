//! The pools and replicas of one GPU node: readiness, slots, drain, snapshots.
