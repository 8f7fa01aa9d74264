//! Splits protobuf messages into their top-level fields: one in memory, or one that still arrives, so that a list of
//! hundreds of megabytes is never held whole.

#![warn(
    unreachable_pub,
    clippy::pedantic,
    reason = "nothing here is generated"
)]

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

/// The largest field that is put together: a row of a list is a kilobyte or two, with large metric tags more.
const MAX_FIELD: usize = 4 << 20;

/// Wire types of <https://protobuf.dev/programming-guides/encoding/#structure>.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
/// What texts, bytes and messages have.
pub(crate) const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// What is wrong with the bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It never ends.
    #[error("a number of more than ten bytes")]
    Varint,
    /// There is no such type, or none any more.
    #[error("wire type {0}")]
    WireType(u64),
    /// More than fits, or is to be put together.
    #[error("a field of {0} bytes")]
    TooLong(u64),
    /// Something is missing.
    #[error("the message ends within a field")]
    Truncated,
}

/// A field at the beginning of a message.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) wire_type: u64,
    /// Where its content is; the next field begins at its end.
    pub(crate) content: Range<usize>,
}

impl Field {
    /// The first field of `bytes`, of at most `limit`; `None` if they end within it.
    pub(crate) fn first(bytes: &[u8], limit: usize) -> Result<Option<Self>, Malformed> {
        let Some((key, mut head)) = varint(bytes)? else {
            return Ok(None);
        };
        let rest = &bytes[head..];
        let length = match key & 7 {
            VARINT => varint(rest)?.map(|(_, width)| width as u64),
            FIXED64 => Some(8),
            FIXED32 => Some(4),
            LENGTH_DELIMITED => varint(rest)?.map(|(length, width)| {
                head += width;
                length
            }),
            other => return Err(Malformed::WireType(other)),
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let end = usize::try_from(length)
            .ok()
            .filter(|length| *length <= limit)
            .and_then(|length| head.checked_add(length))
            .ok_or(Malformed::TooLong(length))?;
        Ok((end <= bytes.len()).then_some(Self {
            number: key >> 3,
            wire_type: key & 7,
            content: head..end,
        }))
    }
}

/// Collects bytes and hands out whole length-delimited fields; fields of other types are skipped.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pending: BytesMut,
}

impl Fields {
    /// Takes the next bytes of the message.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next field's number and content; `None` until more bytes are pushed.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Bytes)>, Malformed> {
        while let Some(field) = Field::first(&self.pending, MAX_FIELD)? {
            self.pending.advance(field.content.start);
            let content = self.pending.split_to(field.content.len());
            if field.wire_type == LENGTH_DELIMITED {
                return Ok(Some((field.number, content.freeze())));
            }
        }
        Ok(None)
    }

    /// The message has ended.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Truncated)
        }
    }
}

/// The number at the start and its width; `None` where it is not yet complete.
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 10 {
        Ok(None)
    } else {
        Err(Malformed::Varint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::bbs::{ActualLrPsResponse, ActualLrp, Error};

    fn split(message: &[u8], cuts: &[usize]) -> Result<Vec<(u64, Bytes)>, Malformed> {
        let mut fields = Fields::default();
        let mut found = Vec::new();
        let mut rest = message;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            fields.push(now);
            while let Some(field) = fields.next()? {
                found.push(field);
            }
        }
        fields.finish()?;
        Ok(found)
    }

    proptest! {
        #[test]
        fn any_split_of_a_message_gives_its_fields(
            states in prop::collection::vec(".{0,300}", 0..10),
            cuts in prop::collection::vec(0_usize..400, 0..20),
        ) {
            let response = ActualLrPsResponse {
                error: Some(Error { r#type: 4, message: "no".to_owned() }),
                actual_lrps: states.iter().map(|state| ActualLrp { state: state.clone(), ..ActualLrp::default() }).collect(),
            };
            let fields = split(&response.encode_to_vec(), &cuts).unwrap();
            let rows: Vec<_> = fields.iter().filter(|(number, _)| *number == 2)
                .map(|(_, row)| ActualLrp::decode(row.clone()).unwrap()).collect();
            prop_assert_eq!(rows, response.actual_lrps);
            prop_assert_eq!(fields.len(), states.len() + 1);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            drop(split(&bytes, &[cut]));
        }
    }

    #[test]
    fn skips_numbers_and_refuses_what_is_cut_off_too_long_or_of_no_wire_type() {
        let found = split(b"\x08\x96\x01\x09abcdefgh\x15abcd\x12\x01x", &[3]);
        assert_eq!(found, Ok(vec![(2, Bytes::from_static(b"x"))]));
        assert_eq!(split(b"\x12\x05x", &[]), Err(Malformed::Truncated));
        assert_eq!(
            split(b"\x12\xff\xff\xff\xff\x0f", &[]),
            Err(Malformed::TooLong(u64::from(u32::MAX)))
        );
        assert_eq!(
            split(b"\x12\x81\x80\x80\x02", &[]),
            Err(Malformed::TooLong(MAX_FIELD as u64 + 1))
        );
        assert_eq!(
            split(b"\x12\x80\x80\x80\x02", &[]),
            Err(Malformed::Truncated)
        );
        assert_eq!(split(b"\x13", &[]), Err(Malformed::WireType(3)));
        assert_eq!(split(&[0xff; 11], &[]), Err(Malformed::Varint));
    }
}
