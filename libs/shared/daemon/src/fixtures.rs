//! A program for tests.

use std::net::SocketAddr;

use crate::{Program, Setting};

static ADDR: Setting<SocketAddr> =
    Setting::listen_address("DEMO_ADDR", || SocketAddr::from(([127, 0, 0, 1], 7000)));

/// A daemon without settings of its own.
pub(crate) const DEMO: Program = Program {
    name: "demo",
    version: "0.0.0",
    title: "",
    about: "",
    address: &ADDR,
    settings: &[],
    ending: "",
    prefix: "DEMO_",
    openapi: || "{}".to_owned(),
    limits: &[],
    unused_in_profile: |_| &[],
};
