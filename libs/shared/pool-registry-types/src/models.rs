//! Names of models.

use crate::{
    id::MAX_ECHO_CHARS,
    invalid::InvalidField,
    limits::{MAX_MODEL_NAME_BYTES, MAX_MODELS},
    text::quoted,
};

/// Whether a model may have this name: 1 to [`MAX_MODEL_NAME_BYTES`] bytes without control
/// characters.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_MODEL_NAME_BYTES && !name.chars().any(char::is_control)
}

/// The names that a message may carry, sorted and without duplicates; and how many are left out.
///
/// An engine may list any name. One impossible name must not make the control plane refuse the
/// whole report.
#[must_use]
pub fn usable_models(mut names: Vec<String>) -> (Vec<String>, usize) {
    let listed = names.len();
    names.retain(|name| is_model_name(name));
    let impossible = listed.saturating_sub(names.len());
    names.sort_unstable();
    names.dedup();
    let beyond = names.len().saturating_sub(MAX_MODELS);
    names.truncate(MAX_MODELS);
    (names, impossible.saturating_add(beyond))
}

/// Refuses lists of models that are too long or have an impossible name.
pub(crate) fn check_models(
    field: &'static str,
    models: Option<&[String]>,
) -> Result<(), InvalidField> {
    let Some(models) = models else { return Ok(()) };
    if models.len() > MAX_MODELS {
        return Err(InvalidField::new(
            field,
            format!(
                "must name at most {MAX_MODELS} models, not {}",
                models.len()
            ),
        ));
    }
    match models.iter().find(|name| !is_model_name(name)) {
        Some(bad) => Err(InvalidField::new(
            field,
            format!(
                "must be names of 1 to {MAX_MODEL_NAME_BYTES} bytes without control characters, \
                 not {}",
                quoted(bad, MAX_ECHO_CHARS)
            ),
        )),
        None => Ok(()),
    }
}

/// Cuts a list that a control plane would refuse. A valid list stays as it is, in its order.
pub(crate) fn bound_models(models: &mut Option<Vec<String>>) {
    if check_models("", models.as_deref()).is_err() {
        *models = models.take().map(|names| usable_models(names).0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_names_are_kept_and_the_others_counted() {
        let list = ["b", "a", "b", "", "a\n"].map(str::to_owned);
        let long = "x".repeat(MAX_MODEL_NAME_BYTES + 1);
        let few = list.iter().cloned().chain([long]).collect();
        assert_eq!(
            usable_models(few),
            (vec!["a".to_owned(), "b".to_owned()], 3)
        );
        let (kept, left_out) =
            usable_models((0..MAX_MODELS + 5).map(|i| format!("m{i}")).collect());
        assert_eq!((kept.len(), left_out), (MAX_MODELS, 5));
    }
}
