//! The range of virtual addresses: of IPv4, in the notation of RFC 4632.

use std::{net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

/// Where virtual addresses are from.
pub(super) struct VipRange(pub(super) Ipv4Net);

/// Why a text is no such range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidVipRange {
    #[error("this is IPv6, and virtual addresses are of IPv4, such as those of 127.128.0.0/9")]
    Ipv6,
    #[error("this is one address; write a range as 127.128.0.0/9")]
    Address,
    #[error("expected a range of IPv4 addresses such as 127.128.0.0/9")]
    Other,
}

impl FromStr for VipRange {
    type Err = InvalidVipRange;

    fn from_str(text: &str) -> Result<Self, InvalidVipRange> {
        match (text.parse(), text.parse()) {
            (Ok(IpNet::V4(range)), _) => Ok(Self(range)),
            (Ok(IpNet::V6(_)), _) | (_, Ok(IpAddr::V6(_))) => Err(InvalidVipRange::Ipv6),
            (_, Ok(IpAddr::V4(_))) => Err(InvalidVipRange::Address),
            _ => Err(InvalidVipRange::Other),
        }
    }
}
