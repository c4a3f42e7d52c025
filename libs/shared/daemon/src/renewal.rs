//! Renews a certificate before it expires.

use std::{
    fmt::Display,
    time::{Duration, SystemTime},
};

use tls_config::{IdentityFiles, Validity};

/// The longest pause: an operator may set the clock, or replace the file.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The pause after the first failure. It doubles with each one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest pause after a failure: a control plane that was away for a day is found soon.
const LONGEST_RETRY: Duration = Duration::from_secs(10 * 60);

/// At least this many attempts fit into the time that is left.
const ATTEMPTS_LEFT: u32 = 10;

/// How long to wait before the next look at the certificate, after this many failures in a row.
/// Zero: renew it now.
fn pause(validity: Validity, now: SystemTime, failures: u32) -> Duration {
    let until = validity.renew_at().duration_since(now).unwrap_or_default();
    if !until.is_zero() || failures == 0 {
        return until.min(LONGEST_PAUSE);
    }
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.min(16) - 1));
    let left = validity.not_after.duration_since(now).unwrap_or_default();
    let most = LONGEST_RETRY.min((left / ATTEMPTS_LEFT).max(FIRST_RETRY));
    doubled.min(most)
}

/// Renews the certificate in `files` again and again.
pub(crate) async fn keep_renewed<E: Display + Send + 'static>(
    files: IdentityFiles,
    renew: impl Fn() -> Result<(), E> + Clone + Send + 'static,
) {
    let mut failures = 0_u32;
    loop {
        let read = files.clone();
        // A disk may hang.
        let validity = match tokio::task::spawn_blocking(move || read.validity()).await {
            Ok(Ok(validity)) => validity,
            // The task that reads changed files reports it.
            Ok(Err(_)) => {
                tokio::time::sleep(LONGEST_RETRY).await;
                continue;
            }
            // The runtime ends.
            Err(_) => return,
        };
        let wait = pause(validity, SystemTime::now(), failures);
        tokio::time::sleep(wait).await;
        let is_due = validity.renew_at() <= SystemTime::now();
        if !is_due {
            failures = 0;
            continue;
        }
        let renew = renew.clone();
        match tokio::task::spawn_blocking(renew).await {
            Ok(Ok(())) => {
                // With clocks that differ by days, the new one may be due at once.
                failures = failures.saturating_add(1);
                tracing::info!(file = %files.certificate.display(), "the certificate is renewed");
            }
            Ok(Err(error)) => {
                failures = failures.saturating_add(1);
                let left = validity.not_after.duration_since(SystemTime::now());
                tracing::warn!(
                    file = %files.certificate.display(),
                    %error,
                    days_left = left.unwrap_or_default().as_secs() / (24 * 60 * 60),
                    "the certificate could not be renewed, and is tried again"
                );
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    // spec: JOIN-50
    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let validity = Validity {
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + 30 * DAY,
        };
        let pause = |at: Duration, failures| pause(validity, UNIX_EPOCH + at, failures);
        // The clock may be set, so no pause is long.
        assert_eq!(pause(DAY, 0), LONGEST_PAUSE);
        let minute = Duration::from_secs(60);
        assert_eq!(pause(20 * DAY - minute, 0), minute);
        assert_eq!(pause(20 * DAY, 0), Duration::ZERO);
        // A clock that was set back.
        assert_eq!(pause(DAY, 3), LONGEST_PAUSE);
        let pauses: Vec<u64> = (1..=12)
            .map(|failures| pause(20 * DAY, failures).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        // The end comes closer.
        assert_eq!(pause(30 * DAY - minute, 20).as_secs(), 6);
        assert_eq!(pause(31 * DAY, 20), FIRST_RETRY);
        assert_eq!(pause(31 * DAY, u32::MAX), FIRST_RETRY);
    }
}
