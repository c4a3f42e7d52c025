//! Where a request goes: a pure choice over the routing table, with reasons.
