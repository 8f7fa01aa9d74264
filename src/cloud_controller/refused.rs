//! Why a BulkSync does not count. What was known before stays as it is.

use std::time::Duration;

use prost::DecodeError;
use tonic::{Code, Status};

use super::Full;
use crate::{
    feed::{Kind, chain},
    proto::fields,
};

/// What is wrong with a BulkSync, or with its time.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// As many as may be received at a time are being received.
    #[error("other BulkSyncs are being received: try again when one has ended")]
    Busy,
    /// It does not end.
    #[error("the BulkSync took longer than {0:?}")]
    Slow(Duration),
    /// The stream broke before its end.
    #[error("receiving the BulkSync")]
    Stream(#[source] Status),
    /// Larger than the configuration allows.
    #[error("the BulkSync is larger than {limit} bytes, the limit that MaxBulkSyncBytes sets")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The bytes are no `BulkSyncRequest`.
    #[error("the chunks are no BulkSyncRequest")]
    Malformed(#[from] DecodeError),
    /// The bytes are another message, or none at all.
    #[error("the chunks are no BulkSyncRequest: field {number} with wire type {wire_type}")]
    WireType {
        /// The field's number.
        number: u64,
        /// What is said to follow.
        wire_type: u64,
    },
    /// The bytes are no protobuf.
    #[error("the chunks are no BulkSyncRequest")]
    Fields(#[from] fields::Malformed),
    /// The bytes end within a field.
    #[error("the chunks are no BulkSyncRequest: they end within a field")]
    Truncated,
    /// So much of it is invalid that the rest is not to be trusted.
    #[error("{invalid} items of the BulkSync are invalid; the first is {first}")]
    Unreadable {
        /// How many.
        invalid: usize,
        /// One of them, and what is wrong with it.
        first: String,
    },
    /// It does not fit.
    #[error(transparent)]
    Full(#[from] Full),
    /// Too many changes are newer than it.
    #[error("too many changes were made while the BulkSync was under way: try again")]
    Outdated,
    /// Another BulkSync is newer than it.
    #[error("a BulkSync that began later has been applied: try again")]
    Overtaken,
    /// The process ends.
    #[error("shutting down")]
    ShuttingDown,
}

impl Refused {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Busy => Kind::Overflow,
            Self::Slow(_) => Kind::Timeout,
            Self::Stream(_) => Kind::Truncated,
            Self::TooLarge { .. } | Self::Full(_) => Kind::TooLarge,
            Self::Malformed(_) | Self::Fields(_) | Self::WireType { .. } | Self::Truncated => {
                Kind::Malformed
            }
            Self::Unreadable { .. } => Kind::Unreadable,
            Self::Outdated | Self::Overtaken => Kind::Outdated,
            Self::ShuttingDown => Kind::ShuttingDown,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Busy | Self::TooLarge { .. } | Self::Full(_) => Code::ResourceExhausted,
            Self::Slow(_) => Code::DeadlineExceeded,
            Self::Stream(status) => status.code(),
            Self::Malformed(_)
            | Self::Fields(_)
            | Self::WireType { .. }
            | Self::Truncated
            | Self::Unreadable { .. } => Code::InvalidArgument,
            Self::Outdated | Self::Overtaken => Code::Aborted,
            Self::ShuttingDown => Code::Unavailable,
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stream(status) => status,
            other => Self::new(other.code(), chain(&other)),
        }
    }
}
