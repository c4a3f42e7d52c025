//! Messages whose end two parties may see in different places (RFC 9112, section 11), from clients
//! and from engines.
//!
//! Each row is sent through the real daemons. Whatever a row does, its client reads one answer, its
//! connection is closed or carries on with the next request, and a new connection is served. A real
//! engine cannot send most of these answers, so the engine is a socket.

mod client;
mod engine;
mod from_clients;
mod from_engines;
mod setup;

use anyhow::Result;

use self::setup::{each, in_cloud, in_home};

// spec: PATH-23
#[test]
fn an_engine_puts_nothing_into_a_connection_of_a_client_in_home() -> Result<()> {
    in_home(|setup| {
        each(
            setup,
            &from_engines::rows(),
            |row| row.name,
            from_engines::run,
        )?;
        from_engines::an_early_answer_is_passed_on(setup)
    })
}

// spec: PATH-23
#[test]
fn an_engine_puts_nothing_into_a_connection_of_a_client_in_cloud() -> Result<()> {
    in_cloud(|setup| {
        each(
            setup,
            &from_engines::rows(),
            |row| row.name,
            from_engines::run,
        )?;
        from_engines::an_early_answer_is_passed_on(setup)?;
        from_engines::answers_to_head_have_no_body(setup)
    })
}

// spec: PATH-23
#[test]
fn a_client_puts_nothing_into_a_connection_to_an_engine_in_home() -> Result<()> {
    in_home(|setup| {
        each(
            setup,
            &from_clients::rows(),
            |row| row.name,
            from_clients::run,
        )?;
        from_clients::expectations_are_met(setup)
    })
}

// spec: PATH-23
#[test]
fn a_client_puts_nothing_into_a_connection_to_an_engine_in_cloud() -> Result<()> {
    in_cloud(|setup| {
        each(
            setup,
            &from_clients::rows(),
            |row| row.name,
            from_clients::run,
        )?;
        from_clients::expectations_are_met(setup)
    })
}
