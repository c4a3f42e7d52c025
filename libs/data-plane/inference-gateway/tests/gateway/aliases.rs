//! Aliases of models.

use fake_engine::Script;
use http::Method;
use inference_gateway::{Aliases, GatewayConfig};

use crate::harness::{Service, engines, error_of, header, table, text};

const FILE: &str =
    "[aliases]\n\"gpt-4o\" = \"tiny\"\n\"gone\" = \"not-served\"\n\"small\" = \"tiny\"\n";

fn config() -> GatewayConfig {
    GatewayConfig {
        aliases: Aliases::parse(FILE).unwrap(),
        ..GatewayConfig::default()
    }
}

// spec: PATH-18
#[tokio::test]
async fn an_alias_is_served_by_its_model() {
    let models = [vec!["tiny".into()], vec!["small".into()]];
    let engines = engines(models.map(|models| Script {
        models,
        ..Script::default()
    }));
    let service = Service::with(config(), Default::default(), table(&engines)).await;
    // The second engine serves a model called "small"; the alias takes precedence.
    for name in ["tiny", "gpt-4o", "small"] {
        let body = format!(r#"{{"model":"{name}"}}"#);
        let answer = service
            .send(Method::POST, "/v1/completions", &[], &body)
            .await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-replica")
            ),
            (200, "r0"),
            "{name}"
        );
        text(answer).await;
        let seen = engines[0].records().pop().unwrap();
        // {"model":"tiny"}, hashed by `sha256sum`.
        assert_eq!(
            (seen.body_len, seen.body_sha256.as_str()),
            (
                16,
                "6357ff6e9f34c0a7e57c20c6e15fd20ad171329cacb1f3e4a627dfd9dc6df513"
            ),
            "{name}"
        );
    }
    let form = "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--XX--\r\n";
    let form_type = ("content-type", "multipart/form-data; boundary=XX");
    let path = "/v1/audio/transcriptions";
    // The fake engine does not know this route. Its response shows that it read a whole body.
    let answer = service.send(Method::POST, path, &[form_type], form).await;
    assert_eq!(header(&answer, "x-llorch-replica"), "r0");
}

// spec: PATH-18
#[tokio::test]
async fn aliases_of_available_models_are_listed() {
    let engines = engines([Script::default()]);
    let service = Service::with(config(), Default::default(), table(&engines)).await;
    let (list, _) = text(service.send(Method::GET, "/v1/models", &[], "").await).await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["gpt-4o", "small", "tiny"]);
    let (one, _) = text(
        service
            .send(Method::GET, "/v1/models/gpt-4o", &[], "")
            .await,
    )
    .await;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&one).unwrap()["id"],
        "gpt-4o"
    );
    let gone = service.send(Method::GET, "/v1/models/gone", &[], "").await;
    assert_eq!(gone.status(), 404);
}

// spec: PATH-18
#[tokio::test]
async fn the_error_for_an_alias_names_its_model_as_well() {
    let engines = engines([Script::default()]);
    let service = Service::with(config(), Default::default(), table(&engines)).await;
    let answer = service
        .send(Method::POST, "/v1/completions", &[], r#"{"model":"gone"}"#)
        .await;
    assert_eq!(answer.status(), 404);
    let (text, _) = text(answer).await;
    let error = error_of(&text);
    assert_eq!(error["code"], "MODEL_NOT_AVAILABLE");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("gone") && message.contains("not-served"),
        "{message}"
    );
}
