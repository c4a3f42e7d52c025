//! The limits of a key, in a file.

use bearer_auth::{KeyLimits, UncheckedKeyLimits};
use pool_registry_types::ModelName;
use toml::{Spanned, de::DeValue};

/// The limits of a table. An error names the field.
pub(crate) fn read(value: &Spanned<DeValue<'_>>) -> Result<KeyLimits, String> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err("limits: must be a table: write [key.limits]".to_owned());
    };
    let mut limits = UncheckedKeyLimits::default();
    for (field, value) in table {
        let value = value.get_ref();
        match field.get_ref().as_ref() {
            "models" => limits.models = Some(models(value)?),
            "requests_per_minute" => {
                limits.requests_per_minute = Some(number("requests_per_minute", value)?);
            }
            "tokens_per_minute" => {
                limits.tokens_per_minute = Some(number("tokens_per_minute", value)?);
            }
            "tokens_per_day" => limits.tokens_per_day = Some(number("tokens_per_day", value)?),
            "concurrent_requests" => {
                limits.concurrent_requests = Some(number("concurrent_requests", value)?);
            }
            "highest_priority" => {
                let name = text("highest_priority", value)?.parse();
                let priority = name.map_err(|error| format!("limits: highest_priority: {error}"));
                limits.highest_priority = Some(priority?);
            }
            "weight" => {
                let weight = number("weight", value)?;
                limits.weight = Some(u32::try_from(weight).unwrap_or(u32::MAX));
            }
            other => {
                return Err(format!(
                    "limits: unknown key `{other}`: there are models, requests_per_minute, \
                     tokens_per_minute, tokens_per_day, concurrent_requests, highest_priority and \
                     weight"
                ));
            }
        }
    }
    KeyLimits::try_from(limits).map_err(|error| format!("limits: {error}"))
}

fn number(field: &str, value: &DeValue<'_>) -> Result<u64, String> {
    let DeValue::Integer(number) = value else {
        return Err(format!("limits: {field}: must be a whole number"));
    };
    let digits = number.as_str();
    u64::from_str_radix(digits, number.radix())
        .map_err(|_| format!("limits: {field}: must be a whole number above 0"))
}

fn text<'a>(field: &str, value: &'a DeValue<'_>) -> Result<&'a str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        _ => Err(format!("limits: {field}: must be a text in quotes")),
    }
}

fn models(value: &DeValue<'_>) -> Result<Vec<ModelName>, String> {
    let DeValue::Array(list) = value else {
        return Err("limits: models: must be a list, such as [\"tiny\"]".to_owned());
    };
    let names = list.iter().map(|name| {
        let name = ModelName::new(text("models", name.get_ref())?);
        name.map_err(|error| format!("limits: models: {error}"))
    });
    names.collect()
}
