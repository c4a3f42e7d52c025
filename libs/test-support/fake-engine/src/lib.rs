//! A scriptable inference engine for tests that need one to misbehave.
