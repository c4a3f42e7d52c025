//! A day of UTC.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const SECONDS: u64 = 24 * 60 * 60;

/// The last day of the year 9999.
const LAST: u32 = 2_932_896;

/// A day of UTC, from 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(u32);

/// A text that is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a day, such as 2027-01-31")]
pub struct NotADay;

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let days = u32::try_from(since.as_secs() / SECONDS).unwrap_or(u32::MAX);
        Self(days.min(LAST))
    }

    /// So many days earlier.
    #[must_use]
    pub fn earlier(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// The days since 1970.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The day so many days after the first one; the last one, if there are fewer.
    #[must_use]
    pub fn from_number(days: u32) -> Self {
        Self(days.min(LAST))
    }

    fn start(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::from(self.0) * SECONDS)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_rfc3339_seconds(self.start()).to_string();
        f.write_str(text.split('T').next().unwrap_or_default())
    }
}

impl FromStr for Day {
    type Err = NotADay;

    /// A day before 1970 is the first one: nothing is before it.
    fn from_str(text: &str) -> Result<Self, NotADay> {
        let (year, rest) = text.split_at_checked(4).ok_or(NotADay)?;
        let is_year = year.bytes().all(|byte| byte.is_ascii_digit());
        if !is_year || rest.len() != 6 || !rest.starts_with('-') {
            return Err(NotADay);
        }
        // Of an earlier year only the form counts. A leap year has every day.
        let is_earlier = year < "1970";
        let year = if is_earlier { "1972" } else { year };
        let start = humantime::parse_rfc3339(&format!("{year}{rest}T00:00:00Z"));
        let day = Self::of(start.map_err(|_| NotADay)?);
        Ok(if is_earlier { Self(0) } else { day })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-24
    #[test]
    fn a_day_is_read_as_it_is_written() {
        for text in ["1970-01-01", "2024-02-29", "2026-11-30", "9999-12-31"] {
            let day: Day = text.parse().unwrap();
            assert_eq!(day.to_string(), text);
            assert_eq!(Day::of(day.start() + Duration::from_secs(SECONDS - 1)), day);
        }
        assert_eq!("9999-12-31".parse(), Ok(Day(LAST)));
        assert_eq!(Day(1).earlier(5), Day(0));
        assert_eq!("0001-12-31".parse(), Ok(Day(0)));
        assert_eq!(Day::from_number(u32::MAX), Day(LAST));
        for text in [
            "",
            "2026-13-01",
            "2026-02-30",
            "26-01-01",
            "2026-1-1",
            "1969-13-31",
            "today",
        ] {
            assert_eq!(text.parse::<Day>(), Err(NotADay), "{text}");
        }
    }
}
