//! The arguments for limits of keys.

use std::str::FromStr;

use clap::{ArgGroup, Args};
use llorch_client::ModelName;

use super::Priority;

/// How much of the service a key may use.
#[derive(Debug, Args)]
pub(crate) struct KeyLimitArgs {
    /// The only models that it may use, separated by commas; aliases count as well
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    pub(crate) models: Option<Vec<String>>,
    /// The most requests in any minute
    #[arg(long, value_name = "N")]
    pub(crate) rpm: Option<u64>,
    /// The most tokens, read and generated, in any minute
    #[arg(long, value_name = "N")]
    pub(crate) tpm: Option<u64>,
    /// The most tokens in a day of UTC
    #[arg(long, value_name = "N")]
    pub(crate) tpd: Option<u64>,
    /// The most requests at once
    #[arg(long, value_name = "N")]
    pub(crate) concurrent: Option<u64>,
    /// The highest priority; requests with a higher one have this one
    #[arg(long, value_name = "PRIORITY")]
    pub(crate) highest_priority: Option<Priority>,
    /// Its requests in one turn where slots are scarce, 1 to 100 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
}

/// Other limits for a key. `none` takes a limit away.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct ChangeKeyLimits {
    /// The id or the name of the key
    pub(crate) key: String,
    /// The only models that it may use, separated by commas; or none
    #[arg(long, value_name = "MODELS", group = "change")]
    pub(crate) models: Option<OrNone<Models>>,
    /// The most requests in any minute; or none
    #[arg(long, value_name = "N", group = "change")]
    pub(crate) rpm: Option<OrNone<u64>>,
    /// The most tokens, read and generated, in any minute; or none
    #[arg(long, value_name = "N", group = "change")]
    pub(crate) tpm: Option<OrNone<u64>>,
    /// The most tokens in a day of UTC; or none
    #[arg(long, value_name = "N", group = "change")]
    pub(crate) tpd: Option<OrNone<u64>>,
    /// The most requests at once; or none
    #[arg(long, value_name = "N", group = "change")]
    pub(crate) concurrent: Option<OrNone<u64>>,
    /// The highest priority, interactive or batch; or none
    #[arg(long, value_name = "PRIORITY", group = "change")]
    pub(crate) highest_priority: Option<OrNone<llorch_client::HighestPriority>>,
    /// Its requests in one turn where slots are scarce, 1 to 100; or none, which is 1
    #[arg(long, value_name = "N", group = "change")]
    pub(crate) weight: Option<OrNone<u32>>,
}

/// A value, or the word `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

impl<T: FromStr<Err: std::fmt::Display>> FromStr for OrNone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let value = text.parse().map_err(|error| format!("{error}; or none"))?;
        Ok(Self(Some(value)))
    }
}

/// Names of models, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Models(pub(crate) Vec<ModelName>);

impl FromStr for Models {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(ModelName::new);
        let names = names.collect::<Result<_, _>>();
        Ok(Self(names.map_err(|error| error.to_string())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_or_none_is_read() {
        assert_eq!("none".parse(), Ok(OrNone::<u64>(None)));
        assert_eq!("60".parse(), Ok(OrNone(Some(60_u64))));
        let wrong = "many".parse::<OrNone<u64>>().unwrap_err();
        assert!(wrong.ends_with("; or none"), "{wrong}");
        let models: OrNone<Models> = "a,org/b".parse().unwrap();
        let names = models.0.unwrap().0;
        assert_eq!(
            names.iter().map(ModelName::as_str).collect::<Vec<_>>(),
            ["a", "org/b"]
        );
        assert!("a,,b".parse::<OrNone<Models>>().is_err());
    }
}
