//! The OpenAI-compatible data path: peek, admit, place, forward, retry before the first byte.
