//! Cloud Controller's timestamps: whole seconds.

use std::{
    fmt,
    time::{Duration, SystemTime, SystemTimeError},
};

use serde::{Deserialize, Deserializer, de::Error as _};

/// Seconds since the Unix epoch, by Cloud Controller's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timestamp(u64);

impl Timestamp {
    pub(super) fn unix_seconds(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    pub(super) fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }

    pub(super) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// By this machine's clock.
    pub(super) fn now() -> Self {
        Self::try_from(SystemTime::now()).unwrap_or(Self(0))
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = SystemTimeError;

    fn try_from(time: SystemTime) -> Result<Self, Self::Error> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Self(since.as_secs()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(D::Error::custom)?;
        Self::try_from(time).map_err(D::Error::custom)
    }
}

/// As filters want it: a fraction of a second is refused.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.0);
        humantime::format_rfc3339_seconds(time).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_was_read_from() {
        let timestamp: Timestamp = serde_json::from_str("\"2019-05-10T17:17:48Z\"").unwrap();
        assert_eq!(timestamp.unix_seconds(), 1_557_508_668);
        assert_eq!(timestamp.to_string(), "2019-05-10T17:17:48Z");
        assert_eq!(
            timestamp.minus(Duration::from_mins(1)).to_string(),
            "2019-05-10T17:16:48Z"
        );
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for text in ["\"\"", "\"yesterday\"", "\"1969-12-31T23:59:59Z\"", "null"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }
}
