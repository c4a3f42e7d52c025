//! Register a GPU node with the control plane and report by heartbeat, on its own thread and without an async runtime.
