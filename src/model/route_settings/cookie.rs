//! The cookie by which proxies know clients again.

use std::time::Duration;

use super::{
    super::{Cookie, CookieName},
    duration, shown,
};

const MAX_TTL: Duration = Duration::from_hours(24 * 365);

/// Cookies that apps are given sessions by, in any case: a proxy's of the same name would take the place of theirs.
const SESSION_COOKIES: [&str; 17] = [
    "__vcap_id__",
    "_session_id",
    "asp.net_sessionid",
    "beaker.session.id",
    "cfid",
    "cftoken",
    "ci_session",
    "connect.sid",
    "jsessionid",
    "laravel_session",
    "phpsessid",
    "play_session",
    "rack.session",
    "session",
    "session_id",
    "sessionid",
    "sid",
];

/// The same, by how they begin: these a client does not take from who cannot say that they are for TLS alone.
const FOREIGN_COOKIES: [&str; 3] = ["__host-", "__secure-", "aspsessionid"];

impl Cookie {
    /// The name of a cookie that Envoy may give to clients.
    ///
    /// # Errors
    /// It is no name, or one that apps use themselves; why, in words for its owner.
    pub fn read_name(text: &str) -> Result<CookieName, String> {
        let name = CookieName::parse(text).map_err(|error| error.to_string())?;
        let lower = text.to_ascii_lowercase();
        let mut foreign = FOREIGN_COOKIES.iter();
        if SESSION_COOKIES.contains(&&*lower) || foreign.any(|begin| lower.starts_with(begin)) {
            return Err(format!(
                "{text:?} is a cookie that apps set themselves, and proxies would replace: take a name of its own"
            ));
        }
        Ok(name)
    }

    /// How long a client keeps one: what is not a whole second is none to old Pilots.
    ///
    /// # Errors
    /// It is no such time, or longer than a year; why, in words for its owner.
    pub fn read_ttl(text: &str) -> Result<Duration, String> {
        if matches!(text, "0" | "0s") {
            return Ok(Duration::ZERO);
        }
        let ttl = duration(text, MAX_TTL)?;
        if ttl.subsec_nanos() > 0 {
            return Err(format!("{:?} is no whole number of seconds", shown(text)));
        }
        Ok(ttl)
    }
}
