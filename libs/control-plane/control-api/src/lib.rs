//! The control plane's HTTP API: nodes, pools and the model catalog.
