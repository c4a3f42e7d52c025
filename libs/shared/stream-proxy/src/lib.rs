//! Forward one HTTP request to one upstream: streamed both ways, with deadlines, and cancelled when the client goes.
