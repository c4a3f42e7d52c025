//! An engine that breaks off each answer after three tokens: `cargo run -p fake-engine --example
//! misbehave`.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use fake_engine::{FakeEngine, Fault, Script};

#[expect(clippy::print_stdout, reason = "an example shows something")]
fn main() -> std::io::Result<()> {
    let engine = FakeEngine::start(Script {
        fault: Some(Fault::Cut(3)),
        ..Script::default()
    })?;
    let mut connection = TcpStream::connect(("127.0.0.1", engine.port()))?;
    let body = r#"{"stream":true,"messages":[]}"#;
    write!(
        connection,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    println!("{answer}\n\n{:?}", engine.stats());
    Ok(())
}
