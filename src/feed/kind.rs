//! What can be wrong with a feed: one vocabulary for all of them.

/// What is wrong with a feed. The same fault has the same kind in every feed, whoever it is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody answers: the name has no address, nobody listens there, or the connection ends before an answer.
    Connect,
    /// One side does not accept the other's certificate, or they share no version of TLS.
    Tls,
    /// It took too long.
    Timeout,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// Another answer that says that the request is at fault.
    BadRequest,
    /// The peer says that it has failed.
    ServerError,
    /// Cloud Controller's notice of maintenance.
    Maintenance,
    /// Too many requests.
    RateLimited,
    /// Something other than the peer has answered.
    Foreign,
    /// The answer breaks off, or is shorter than it says.
    Truncated,
    /// The answer is longer than any good one.
    TooLarge,
    /// The answer is not in the peer's format.
    Malformed,
    /// So many items of an answer cannot be read that the others are not believed.
    Unreadable,
    /// The rows did not come in the order asked for.
    OutOfOrder,
    /// UAA gives no token.
    Uaa,
    /// The event stream ended in order.
    StreamEnded,
    /// Events, or calls, come faster than they are taken.
    Overflow,
    /// A first read is not believed before something confirms it.
    Unconfirmed,
    /// What is newer than it has come meanwhile.
    Outdated,
    /// The process ends.
    ShuttingDown,
    /// A certificate's or a key's file cannot be read.
    Read,
    /// A file cannot be written.
    Unwritable,
    /// A file holds no certificate.
    Empty,
    /// None of a file's certificates can be a CA's.
    Ca,
    /// A certificate and a key do not belong together.
    Pair,
}

impl Kind {
    /// All of them: as many as the last one's place says.
    pub const ALL: [Self; Self::Pair as usize + 1] = [
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::BadRequest,
        Self::ServerError,
        Self::Maintenance,
        Self::RateLimited,
        Self::Foreign,
        Self::Truncated,
        Self::TooLarge,
        Self::Malformed,
        Self::Unreadable,
        Self::OutOfOrder,
        Self::Uaa,
        Self::StreamEnded,
        Self::Overflow,
        Self::Unconfirmed,
        Self::Outdated,
        Self::ShuttingDown,
        Self::Read,
        Self::Unwritable,
        Self::Empty,
        Self::Ca,
        Self::Pair,
    ];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::ServerError => "server_error",
            Self::Maintenance => "maintenance",
            Self::RateLimited => "rate_limited",
            Self::Foreign => "foreign",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Unreadable => "unreadable",
            Self::OutOfOrder => "out_of_order",
            Self::Uaa => "uaa",
            Self::StreamEnded => "stream_ended",
            Self::Overflow => "overflow",
            Self::Unconfirmed => "unconfirmed",
            Self::Outdated => "outdated",
            Self::ShuttingDown => "shutting_down",
            Self::Read => "read",
            Self::Unwritable => "unwritable",
            Self::Empty => "empty",
            Self::Ca => "ca",
            Self::Pair => "pair",
        }
    }
}
