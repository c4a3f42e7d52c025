//! Bearer tokens: redacted secrets, constant-time verification and the loopback rule.
