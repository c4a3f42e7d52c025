//! An HTTP/1.1 accept loop on hyper with a deadline and a cap for everything a client can do slowly.
