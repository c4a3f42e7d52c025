//! Names of models.

use crate::{
    id::MAX_ECHO_CHARS,
    invalid::InvalidField,
    limits::{MAX_MODEL_NAME_BYTES, MAX_MODELS},
    shared_str::{checked_str, shared_str},
    text::quoted,
};

shared_str! {
    /// The name of a model: 1 to [`MAX_MODEL_NAME_BYTES`] bytes without control characters.
    ModelName, read by ModelName::new;
}

checked_str! {
    ModelName refuses by check_model_name;
}

/// Whether a model may have this name; see [`ModelName`].
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_MODEL_NAME_BYTES && !name.chars().any(char::is_control)
}

fn check_model_name(name: &str) -> Result<(), InvalidField> {
    if is_model_name(name) {
        return Ok(());
    }
    Err(InvalidField::new(
        "model",
        format!(
            "must be a name of 1 to {MAX_MODEL_NAME_BYTES} bytes without control characters, \
             not {}",
            quoted(name, MAX_ECHO_CHARS)
        ),
    ))
}

/// The names that a message may carry, sorted and without duplicates; and how many are left out.
///
/// An engine may list any name. One impossible name must not make the control plane refuse the
/// whole report.
#[must_use]
pub fn usable_models<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> (Vec<ModelName>, usize) {
    let mut impossible = 0_usize;
    let usable = names.into_iter().filter_map(|name| {
        let usable = ModelName::new(name.as_ref()).ok();
        impossible = impossible.saturating_add(usize::from(usable.is_none()));
        usable
    });
    let (names, beyond) = bounded_models(usable.collect());
    (names, impossible.saturating_add(beyond))
}

/// The first [`MAX_MODELS`] of the names, sorted and without duplicates; and how many are left out.
#[must_use]
pub fn bounded_models(mut names: Vec<ModelName>) -> (Vec<ModelName>, usize) {
    names.sort_unstable();
    names.dedup();
    let beyond = names.len().saturating_sub(MAX_MODELS);
    names.truncate(MAX_MODELS);
    (names, beyond)
}

/// Refuses a list of models that is too long.
pub(crate) fn check_models(
    field: &'static str,
    models: Option<&[ModelName]>,
) -> Result<(), InvalidField> {
    match models {
        Some(models) if models.len() > MAX_MODELS => Err(InvalidField::new(
            field,
            format!(
                "must name at most {MAX_MODELS} models, not {}",
                models.len()
            ),
        )),
        _ => Ok(()),
    }
}

/// Cuts a list that a control plane would refuse. A valid list stays as it is, in its order.
pub(crate) fn bound_models(models: &mut Option<Vec<ModelName>>) {
    if let Some(names) = models
        && names.len() > MAX_MODELS
    {
        *names = bounded_models(std::mem::take(names)).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WIRE-48
    #[test]
    fn an_impossible_name_is_refused_with_what_would_be_right() {
        let long = "x".repeat(MAX_MODEL_NAME_BYTES + 1);
        for bad in ["", "a\u{1b}[31m", &long] {
            let error = ModelName::new(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("model must be a name of 1 to 256 bytes without control"),
                "{error}"
            );
            assert!(error.len() < 200 && !error.contains('\u{1b}'), "{error}");
            let json = serde_json::to_string(&["a", bad]).unwrap();
            let mut json = serde_json::Deserializer::from_str(&json);
            let read = serde_path_to_error::deserialize::<_, Vec<ModelName>>(&mut json);
            assert_eq!(read.unwrap_err().path().to_string(), "[1]");
        }
        let name: ModelName = "org/a model".parse().unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""org/a model""#);
    }

    #[test]
    fn usable_names_are_kept_and_the_others_counted() {
        let list = ["b", "a", "b", "", "a\n"].map(str::to_owned);
        let long = "x".repeat(MAX_MODEL_NAME_BYTES + 1);
        let few: Vec<_> = list.iter().cloned().chain([long]).collect();
        let (kept, left_out) = usable_models(few);
        assert_eq!(kept, ["a", "b"]);
        assert_eq!(left_out, 3);
        let (kept, left_out) = usable_models((0..MAX_MODELS + 5).map(|i| format!("m{i}")));
        assert_eq!((kept.len(), left_out), (MAX_MODELS, 5));
    }
}
