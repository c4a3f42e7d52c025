//! The model that a request names: read, and put in place of an alias.
//!
//! Engines check the name, so an alias has to give way to the model it stands for. That is the one
//! change this gateway makes to a body, and it touches nothing but the value of that one field.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use pool_registry_types::ErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Aliases, multipart,
    peek::{PeekError, check_model, peek},
    reply::Fault,
};

/// The model a request names, in JSON or in a form.
pub(crate) fn named_model<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Option<Cow<'a, str>>, PeekError> {
    match form_type(headers) {
        Some(form) if !multipart::is_form(form) => Err(PeekError::NotAForm),
        Some(form) => multipart::model(form, body)
            .map(|model| check_model(model.into()))
            .transpose(),
        None => Ok(peek(body)?.model),
    }
}

/// The model a request means, and the body that says so.
pub(crate) struct Meant {
    pub(crate) model: String,
    /// What its client called the model, where that is another name.
    pub(crate) alias: Option<String>,
    pub(crate) body: Bytes,
}

/// What a request that names the model `named` means. Its body, and with it what its headers say of
/// the body, is another than the client's only for an alias.
pub(crate) fn meant(
    aliases: &Aliases,
    named: String,
    headers: &mut HeaderMap,
    body: Bytes,
) -> Result<Meant, Fault> {
    let Some(model) = aliases.target(&named) else {
        return Ok(Meant {
            model: named,
            alias: None,
            body,
        });
    };
    // The name was read where it is looked for now.
    let body = with_model(headers, &body, model).ok_or_else(|| {
        Fault::new(
            ErrorCode::Internal,
            "the model's name cannot be put in place",
        )
    })?;
    // The connection to the engine says how long this one is.
    headers.remove(CONTENT_LENGTH);
    Ok(Meant {
        model: model.to_owned(),
        alias: Some(named),
        body,
    })
}

/// The body with `model` in place of the one it names; `None` when it names none.
pub(crate) fn with_model(headers: &HeaderMap, body: &[u8], model: &str) -> Option<Bytes> {
    let (field, value) = match form_type(headers) {
        // A form's field is plain text; a name has no line break that could end it.
        Some(form) => (multipart::model(form, body)?, Cow::Borrowed(model)),
        None => {
            let located: Located<'_> = serde_json::from_slice(body).ok()?;
            (
                located.model?.get(),
                serde_json::to_string(model).ok()?.into(),
            )
        }
    };
    let place = place_of(field, body)?;
    Some(Bytes::from(
        [
            body.get(..place.start)?,
            value.as_bytes(),
            body.get(place.end..)?,
        ]
        .concat(),
    ))
}

/// Where the model's value stands.
#[derive(Deserialize)]
struct Located<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

/// Where `part`, which borrows from `whole`, stands in it.
fn place_of(part: &str, whole: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// The content type of a form; `None` for any other.
fn form_type(headers: &HeaderMap) -> Option<&str> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    content_type
        .get(..10)?
        .eq_ignore_ascii_case("multipart/")
        .then_some(content_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn renamed(body: &str, model: &str) -> Option<String> {
        let body = with_model(&HeaderMap::new(), body.as_bytes(), model)?;
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    // spec: PATH-18
    #[test]
    fn only_the_value_of_the_one_field_changes() {
        for (before, after) in [
            (r#"{"model":"a"}"#, r#"{"model":"tiny"}"#),
            (
                "\n{ \"x\":1, \"model\" \t:\r\n \"a\" , \"x\":2}\n ",
                "\n{ \"x\":1, \"model\" \t:\r\n \"tiny\" , \"x\":2}\n ",
            ),
            (r#"{"model":"\u0061\"\\"}"#, r#"{"model":"tiny"}"#),
            (r#"{"m\u006fdel":"a"}"#, r#"{"m\u006fdel":"tiny"}"#),
            (
                r#"{"x":{"model":"a"},"y":"\"model\":\"a\"","model":"a","z":[{"model":"a"}]}"#,
                r#"{"x":{"model":"a"},"y":"\"model\":\"a\"","model":"tiny","z":[{"model":"a"}]}"#,
            ),
            (
                r#"{"seed":123456789012345678901234567890,"model":"a","t":1.0e3,"é":"\u00e9"}"#,
                r#"{"seed":123456789012345678901234567890,"model":"tiny","t":1.0e3,"é":"\u00e9"}"#,
            ),
        ] {
            assert_eq!(renamed(before, "tiny").as_deref(), Some(after));
        }
        assert_eq!(
            renamed(r#"{"model":"a"}"#, r#"q"\é"#).as_deref(),
            Some(r#"{"model":"q\"\\é"}"#)
        );
        assert_eq!(renamed(r#"{"x":"a"}"#, "tiny"), None);
    }

    // spec: PATH-9
    #[test]
    fn a_form_whose_parts_cannot_be_told_apart_is_refused() {
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=XX",
        ] {
            let headers =
                HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            let error = named_model(&headers, b"--XX\r\n").unwrap_err();
            assert!(error.to_string().contains("boundary"), "{error}");
        }
    }

    // spec: PATH-18
    #[test]
    fn a_form_keeps_everything_but_the_field() {
        let headers = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("Multipart/form-data; boundary=XX"),
        )]);
        let form = |model: &str| {
            format!(
                "--XX\r\nContent-Disposition: form-data; name=\"file\"; \
                 filename=\"model\"\r\n\r\na\0model\r\n--XX\r\nContent-Disposition: form-data; \
                 name=\"model\"\r\n\r\n{model}\r\n--XX\r\nContent-Disposition: form-data; \
                 name=\"prompt\"\r\n\r\na\r\n--XX--\r\n"
            )
        };
        let body = form("a");
        assert_eq!(
            named_model(&headers, body.as_bytes()).unwrap().as_deref(),
            Some("a")
        );
        let renamed = with_model(&headers, body.as_bytes(), "tiny").unwrap();
        assert_eq!(renamed, form("tiny"));
    }

    proptest! {
        // spec: PATH-18
        #[test]
        fn whatever_the_names_the_rest_stays(before in "[^\\p{C}]{1,20}", after in "[^\\p{C}]{1,20}", other in ".{0,20}") {
            let rest = serde_json::to_string(&other).unwrap();
            let body = |model: &str| {
                format!(r#"{{{rest}:{rest}, "model" :{} , "y":{{"model":{rest}}}}}"#, serde_json::to_string(model).unwrap())
            };
            prop_assume!(!["model", "stream"].contains(&other.as_str()));
            let found = with_model(&HeaderMap::new(), body(&before).as_bytes(), &after).unwrap();
            prop_assert_eq!(std::str::from_utf8(&found).unwrap(), body(&after));
            let named = named_model(&HeaderMap::new(), &found).unwrap().unwrap();
            prop_assert_eq!(named.as_ref(), after.as_str());
        }
    }
}
