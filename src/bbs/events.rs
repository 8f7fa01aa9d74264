//! Decodes the BBS's event stream (server-sent events, base64 protobuf) from bytes in any pieces.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;

use super::Error;
use crate::{
    model::InstanceGuid,
    proto::bbs::{
        ActualLrp, ActualLrpInstanceChangedEvent, ActualLrpInstanceCreatedEvent,
        ActualLrpInstanceRemovedEvent, DesiredLrp, DesiredLrpChangedEvent, DesiredLrpCreatedEvent,
        DesiredLrpRemovedEvent,
    },
};

/// The largest event that is put together. A changed event holds an app's definition twice, in base64; routes alone
/// may be 128 KiB of it.
const MAX_EVENT: usize = 16 << 20;

/// What the BBS reports. `DesiredLrp` is trimmed: app definitions are skipped while decoding.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StreamEvent {
    /// A new row.
    Created(ActualLrp),
    /// A changed row, without its metric tags.
    Changed(Box<ActualLrpInstanceChangedEvent>),
    /// A row that is gone.
    Removed(ActualLrp),
    /// What is to run, new or changed.
    Desired(DesiredLrp),
    /// What is no longer to run.
    DesiredRemoved(DesiredLrp),
}

impl StreamEvent {
    /// The instance that it is about, if any.
    pub(super) fn instance(&self) -> Option<InstanceGuid> {
        let key = match self {
            Self::Created(lrp) | Self::Removed(lrp) => &lrp.actual_lrp_instance_key,
            Self::Changed(event) => &event.actual_lrp_instance_key,
            Self::Desired(_) | Self::DesiredRemoved(_) => return None,
        };
        Some(key.as_ref()?.instance_guid.as_str().into())
    }
}

/// The state between two pieces of the stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Counts the events of this connection.
    next_id: u64,
}

impl Decoder {
    /// Appends the events that `bytes` complete to `events`.
    ///
    /// After an error the decoder is of no more use: what came between is lost.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), Error> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.data.len() + piece.len() > MAX_EVENT {
                return Err(undecodable("an event of more than 16 MiB"));
            }
            self.line.extend_from_slice(piece);
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                self.line.pop_if(|byte| *byte == b'\r');
                let mut line = std::mem::take(&mut self.line);
                events.extend(self.take_line(&line)?);
                // The line's memory serves the next one.
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// One line, as <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>
    /// has it, for the fields that the BBS writes.
    fn take_line(&mut self, line: &[u8]) -> Result<Option<StreamEvent>, Error> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"id" => self.check_id(value)?,
            b"event" => self.name = value.to_vec(),
            b"data" => {
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            // Comments have an empty name; what else there may be is not for us.
            _ => {}
        }
        Ok(None)
    }

    /// The BBS numbers the events of a connection from zero without gaps.
    fn check_id(&mut self, value: &[u8]) -> Result<(), Error> {
        let id = std::str::from_utf8(value)
            .ok()
            .and_then(|id| id.parse().ok());
        if id != Some(self.next_id) {
            return Err(undecodable(format!(
                "event {} follows where {} was due",
                value.escape_ascii(),
                self.next_id
            )));
        }
        self.next_id += 1;
        Ok(())
    }

    fn dispatch(&mut self) -> Result<Option<StreamEvent>, Error> {
        let (name, data) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.data),
        );
        if !std::mem::take(&mut self.has_data) {
            return Ok(None);
        }
        let event = match name.as_slice() {
            b"actual_lrp_instance_created" => payload::<ActualLrpInstanceCreatedEvent>(&data)?
                .actual_lrp
                .map(StreamEvent::Created),
            b"actual_lrp_instance_changed" => Some(StreamEvent::Changed(payload(&data)?)),
            b"actual_lrp_instance_removed" => payload::<ActualLrpInstanceRemovedEvent>(&data)?
                .actual_lrp
                .map(StreamEvent::Removed),
            b"desired_lrp_created" => payload::<DesiredLrpCreatedEvent>(&data)?
                .desired_lrp
                .map(StreamEvent::Desired),
            b"desired_lrp_changed" => payload::<DesiredLrpChangedEvent>(&data)?
                .after
                .map(StreamEvent::Desired),
            b"desired_lrp_removed" => payload::<DesiredLrpRemovedEvent>(&data)?
                .desired_lrp
                .map(StreamEvent::DesiredRemoved),
            // "actual_lrp_crashed" only ever accompanies the others, and newer BBSs may have more names.
            _ => None,
        };
        Ok(event)
    }
}

fn payload<M: Message + Default>(data: &[u8]) -> Result<M, Error> {
    // The errors say where, never what: the data may hold an app's secrets.
    let bytes = STANDARD
        .decode(data)
        .map_err(|_| undecodable("an event's data is not base64"))?;
    M::decode(bytes.as_slice()).map_err(|_| undecodable("an event is not of its type"))
}

fn undecodable(detail: impl Into<String>) -> Error {
    Error::Malformed {
        what: "the event stream",
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::bbs::ActualLrpKey;

    fn lrp(index: i32) -> ActualLrp {
        ActualLrp {
            actual_lrp_key: Some(ActualLrpKey {
                process_guid: "process".to_owned(),
                index,
                domain: "cf-apps".to_owned(),
            }),
            ..ActualLrp::default()
        }
    }

    fn created(id: i32) -> String {
        let event = ActualLrpInstanceCreatedEvent {
            actual_lrp: Some(lrp(id)),
        };
        frame(id, "actual_lrp_instance_created", &event.encode_to_vec())
    }

    fn frame(id: i32, name: &str, payload: &[u8]) -> String {
        format!(
            "id: {id}\nevent: {name}\ndata: {}\n\n",
            STANDARD.encode(payload)
        )
    }

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<StreamEvent>, Error> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece, &mut events)?;
        }
        Ok(events)
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_events(cuts in prop::collection::vec(1_usize..200, 1..30)) {
            let stream: String = (0..20).map(created).collect();
            let mut rest = stream.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, later) = rest.split_at(*cut.min(&rest.len()));
                pieces.push(piece);
                rest = later;
            }
            let expected: Vec<_> = (0..20).map(|id| StreamEvent::Created(lrp(id))).collect();
            prop_assert_eq!(decode(pieces).unwrap(), expected);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            drop(decode([bytes.as_slice()]));
        }
    }

    #[test]
    fn a_gap_in_the_numbers_is_an_error() {
        let stream = created(0) + &created(2);
        let error = decode([stream.as_bytes()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "decoding the event stream: event 2 follows where 1 was due"
        );
    }

    #[test]
    fn unknown_events_fields_and_comments_are_skipped() {
        let stream = frame(0, "actual_lrp_renamed", b"\xff")
            + ": hello\nretry: 5\n\n"
            + &created(1).replace('\n', "\r\n");
        assert_eq!(
            decode([stream.as_bytes()]).unwrap(),
            [StreamEvent::Created(lrp(1))]
        );
    }

    #[test]
    fn garbage_is_an_error_that_does_not_repeat_it() {
        let not_base64 = "id: 0\nevent: desired_lrp_created\ndata: secret!\n\n".to_owned();
        let not_protobuf = frame(0, "desired_lrp_created", b"\x0a\x50secret");
        for stream in [not_base64, not_protobuf] {
            let error = decode([stream.as_bytes()]).unwrap_err();
            assert!(
                matches!(error, Error::Malformed { .. }) && !error.to_string().contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_event_without_end_is_an_error_not_a_memory_leak() {
        let piece = vec![b'a'; 1 << 20];
        let error = decode(std::iter::repeat_n(piece.as_slice(), 17)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "decoding the event stream: an event of more than 16 MiB"
        );
    }
}
