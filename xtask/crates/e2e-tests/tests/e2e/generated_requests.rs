//! Requests generated from the OpenAPI documents: every answer is one that the
//! document tells of.

use anyhow::Result;
use e2e_tests::schemathesis::{self, Effort, Fuzzer};

fn short(test: fn(&Fuzzer, Effort) -> Result<()>) -> Result<()> {
    match Fuzzer::find()? {
        Some(fuzzer) => test(&fuzzer, Effort::SHORT),
        None => Ok(()),
    }
}

// spec: WIRE-12, AUTH-1
#[test]
fn a_node_answers_as_its_document_says() -> Result<()> {
    short(schemathesis::node)
}

// spec: WIRE-12, AUTH-1
#[test]
fn the_control_plane_answers_as_its_document_says() -> Result<()> {
    short(schemathesis::control_plane)
}

// spec: WIRE-12
#[test]
fn so_it_does_in_home_and_without_a_token() -> Result<()> {
    short(schemathesis::home)
}
