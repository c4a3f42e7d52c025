//! The usage of keys: where it is kept, and what of it counts today.

use std::{sync::Arc, time::SystemTime};

use daemon::Daemon;
use inference_gateway::Gateway;
use state_export::USAGE_DIR;
use usage_log::{Day, UsageLog};

use crate::control_plane::ControlPlane;

/// Reads what is kept, and keeps what comes. Without a directory it ends with the process.
pub(crate) fn start(
    control_plane: &ControlPlane,
    retention_days: u32,
    daemon: &Daemon,
) -> UsageLog {
    let Some(directory) = &control_plane.directory else {
        return UsageLog::in_memory();
    };
    let directory = directory.join(USAGE_DIR);
    match UsageLog::open(&directory, retention_days) {
        Ok((log, writer)) => {
            daemon
                .tasks
                .spawn("usage", writer.run(daemon.shutdown.clone()));
            log
        }
        Err(error) => {
            tracing::warn!(
                dir = %directory.display(), %error,
                "usage cannot be read: it is counted in memory only, and limits of a day begin \
                 anew; see ORCHESTRATORD_STATE_DIR"
            );
            UsageLog::in_memory()
        }
    }
}

/// What the limiter must know before a key gets other limits: what it has used today without them.
pub(crate) fn counted_today(gateway: &Gateway, usage: &UsageLog) -> impl Fn(&Arc<str>) + use<> {
    let (limiter, usage) = (gateway.key_limiter().clone(), usage.clone());
    move |key_id| {
        let today = usage.tokens_on(Day::of(SystemTime::now()));
        let used = today.iter().find(|(id, _)| id == key_id);
        if let Some((_, tokens)) = used {
            limiter.restore(key_id, *tokens);
        }
    }
}

/// The gateway records usage from now on, and its limits of a day continue.
pub(crate) fn connect(gateway: &Gateway, usage: &UsageLog) {
    let limiter = gateway.key_limiter();
    for (key_id, tokens) in usage.tokens_on(Day::of(SystemTime::now())) {
        limiter.restore(&Arc::clone(&key_id), tokens);
    }
    gateway.record_usage(usage.clone());
}
