//! Any server with the OpenAI API: only its list of models is known to exist.

use crate::dialect::{Dialect, Identity, MODELS, Profile, Report};

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &[],
        marks: &[],
    },
    readiness: MODELS,
    questions: &[],
    reports_tasks: false,
    is_asked_when_idle: false,
};

pub(crate) struct OpenAi;

impl Dialect for OpenAi {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read(&self, _path: &str, _body: &[u8], _report: &mut Report) -> bool {
        false
    }
}
