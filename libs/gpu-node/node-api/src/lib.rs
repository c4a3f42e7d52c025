//! The HTTP API of a GPU node: its pools, and the data path to its engines.
