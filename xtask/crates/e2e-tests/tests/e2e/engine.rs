//! The engine alone: what all other tests rely on.

use anyhow::Result;
use llama_server::{EngineOptions, LlamaServer, find_or_fetch};
use serde_json::json;
use test_client::{End, chain};
use tiny_model::TinyModel;

/// An engine with a model, and the directory both live in.
fn serve(model: &TinyModel, slots: u32) -> Result<(LlamaServer, tempfile::TempDir)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tiny.gguf");
    model.write(&path)?;
    let log = directory.path().join("engine.log");
    let server = LlamaServer::start(&find_or_fetch()?, &EngineOptions::new(&path, slots), &log)?;
    Ok((server, directory))
}

// spec: PACK-6
#[test]
fn the_tiny_model_answers_with_its_chain_of_words() -> Result<()> {
    let (server, _directory) = serve(&TinyModel::default(), 2)?;
    let client = server.client();

    assert_eq!(client.chat(8)?.text()?, chain(8));

    let streamed = client.chat_stream(100)?.finish();
    assert_eq!((streamed.text(), streamed.end), (chain(100), End::Done));

    let prompt = json!({"prompt": "apple bread", "max_tokens": 4, "temperature": 0});
    assert_eq!(
        client.post("/v1/completions", &prompt)?.text()?,
        " cloud dance eagle flame"
    );
    Ok(())
}

#[test]
fn the_chain_holds_at_the_usual_temperature() -> Result<()> {
    let (server, _directory) = serve(&TinyModel::default(), 1)?;
    for seed in 0..10 {
        let body = json!({
            "messages": [{"role": "user", "content": "What is the weather like in Amsterdam?"}],
            "max_tokens": 16, "temperature": 0.8, "seed": seed,
        });
        assert_eq!(
            server
                .client()
                .post("/v1/chat/completions", &body)?
                .text()?,
            chain(16)
        );
    }
    Ok(())
}

#[test]
fn an_answer_ends_by_itself_where_the_model_says() -> Result<()> {
    let (server, _directory) = serve(
        &TinyModel {
            eos_after: Some(5),
            ..TinyModel::default()
        },
        1,
    )?;
    let answer = server.client().chat(100)?;
    assert_eq!(answer.text()?, chain(5));
    assert_eq!(answer.json()?["choices"][0]["finish_reason"], "stop");
    Ok(())
}

#[test]
fn it_tells_its_slots_and_ends_when_asked() -> Result<()> {
    let (mut server, _directory) = serve(&TinyModel::default(), 3)?;
    assert_eq!(server.client().get_json("/props")?["total_slots"], 3);
    assert_eq!(server.busy_slots()?, 0);
    let status = server
        .process()
        .terminate(std::time::Duration::from_secs(90))?;
    assert!(status.success(), "{status}");
    assert!(server.client().get("/health").is_err());
    Ok(())
}
