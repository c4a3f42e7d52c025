//! A directory of handoff files turned into appeared, changed and gone events.
