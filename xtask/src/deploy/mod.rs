//! What is under `ci/deploy` and in the reference of settings: written from the code where that is
//! possible, and checked against it everywhere else.

pub(crate) mod home_engines;
pub(crate) mod installed;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod manifests;
mod manual;
pub(crate) mod names;
pub(crate) mod package;
pub(crate) mod release;
pub(crate) mod settings;
pub(crate) mod units;
