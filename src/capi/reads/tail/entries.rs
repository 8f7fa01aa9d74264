//! The entries of the lists that tails follow, and what each says.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    capi::{
        timestamp::Timestamp,
        wire::{self, WireGuid},
    },
    model::{AppGuid, RouteGuid},
};

/// The events that say something about routes.
pub(super) const EVENT_TYPES: [&str; 6] = [
    "audit.app.delete-request",
    "audit.app.map-route",
    "audit.app.unmap-route",
    "audit.route.create",
    "audit.route.delete-request",
    "audit.route.update",
];

/// The events that say something about bindings to route services: those of the v3 API, then those of the v2 API. The
/// end of a deletion has its own; of its beginning, and of what has no effect on routes, there is no need.
pub(super) const BINDING_EVENT_TYPES: [&str; 5] = [
    "audit.service_route_binding.start_create",
    "audit.service_route_binding.create",
    "audit.service_route_binding.delete",
    "audit.service_instance.bind_route",
    "audit.service_instance.unbind_route",
];

/// What became of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// It is there, or being made.
    Made,
    /// It is being deleted, or gone.
    Deleted,
}

/// What an event says has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// The route.
    RouteDeleted(RouteGuid),
    /// The app.
    AppDeleted(AppGuid),
    /// What the route had of the app.
    Unmapped(RouteGuid, AppGuid),
}

/// An entry, with what it says.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) guid: String,
    pub(super) subject: Subject,
}

/// What an entry is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Changed(RouteGuid),
    Said(Said),
    /// The route, if the event says which.
    Binding(Option<RouteGuid>, Binding),
    Nothing,
}

impl Entry {
    /// Of what happened in one second, which a list has in any order, the end of a binding comes last: if it was made anew
    /// after that, a read will tell.
    pub(super) fn order(&self) -> (Timestamp, bool) {
        let is_end = matches!(self.subject, Subject::Binding(_, Binding::Deleted));
        (self.time, is_end)
    }
}

#[derive(Deserialize)]
struct AuditEvent<'a> {
    #[serde(borrow)]
    guid: WireGuid<'a>,
    created_at: Timestamp,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    target: Target<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    guid: WireGuid<'a>,
}

#[derive(Deserialize)]
struct Mapping<'a> {
    #[serde(borrow)]
    route_guid: WireGuid<'a>,
}

/// Of the events of a binding, what tells the route: as it was asked for to bind, or by itself.
#[derive(Deserialize)]
struct BindingData<'a> {
    #[serde(borrow)]
    request: BindingRequest<'a>,
}

#[derive(Deserialize)]
struct BindingRequest<'a> {
    #[serde(borrow)]
    route_guid: Option<WireGuid<'a>>,
    #[serde(borrow)]
    relationships: Option<BindingRelationships<'a>>,
}

#[derive(Deserialize)]
struct BindingRelationships<'a> {
    #[serde(borrow)]
    route: ToRoute<'a>,
}

#[derive(Deserialize)]
struct ToRoute<'a> {
    #[serde(borrow)]
    data: Target<'a>,
}

fn bound_route(data: Option<&RawValue>) -> Option<RouteGuid> {
    let data: BindingData = serde_json::from_str(data?.get()).ok()?;
    let by_itself = data.request.route_guid;
    let asked_for = data.request.relationships.map(|to| to.route.data.guid);
    by_itself.or(asked_for).map(|guid| RouteGuid::from(&*guid))
}

fn mapped_route(data: Option<&RawValue>) -> Option<RouteGuid> {
    let mapping: Mapping = serde_json::from_str(data?.get()).ok()?;
    Some(RouteGuid::from(&*mapping.route_guid))
}

/// Reads an audit event.
pub(super) fn event(raw: &RawValue) -> Option<Entry> {
    let event: AuditEvent = serde_json::from_str(raw.get()).ok()?;
    let subject = match &*event.kind {
        "audit.route.create" | "audit.route.update" => {
            Subject::Changed(RouteGuid::from(&*event.target.guid))
        }
        "audit.route.delete-request" => {
            let route = RouteGuid::from(&*event.target.guid);
            Subject::Said(Said::RouteDeleted(route))
        }
        "audit.app.map-route" => Subject::Changed(mapped_route(event.data)?),
        "audit.app.unmap-route" => {
            let app = AppGuid::from(&*event.target.guid);
            Subject::Said(Said::Unmapped(mapped_route(event.data)?, app))
        }
        "audit.app.delete-request" => {
            let app = AppGuid::from(&*event.target.guid);
            Subject::Said(Said::AppDeleted(app))
        }
        "audit.service_route_binding.start_create"
        | "audit.service_route_binding.create"
        | "audit.service_instance.bind_route" => {
            Subject::Binding(bound_route(event.data), Binding::Made)
        }
        "audit.service_route_binding.delete" | "audit.service_instance.unbind_route" => {
            Subject::Binding(bound_route(event.data), Binding::Deleted)
        }
        _ => Subject::Nothing,
    };
    Some(Entry {
        time: event.created_at,
        guid: event.guid.to_owned(),
        subject,
    })
}

#[derive(Deserialize)]
struct Updated {
    updated_at: Timestamp,
}

/// Reads a route in a list by the time of its last update.
pub(super) fn updated_route(raw: &RawValue) -> Option<Entry> {
    let guid = wire::guid(raw)?.into_owned();
    let updated: Updated = serde_json::from_str(raw.get()).ok()?;
    let route = RouteGuid::from(guid.as_str());
    Some(Entry {
        time: updated.updated_at,
        guid,
        subject: Subject::Changed(route),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(event_type: &str, target: &str, data: &str) -> Option<Subject> {
        let json = format!(
            r#"{{"guid":"e","created_at":"1970-01-01T00:01:00Z","type":"{event_type}",
                "target":{{"guid":"{target}"}},"data":{data}}}"#
        );
        let raw: Box<RawValue> = serde_json::from_str(&json).unwrap();
        event(&raw).map(|entry| entry.subject)
    }

    #[test]
    fn an_event_names_the_route_or_the_app() {
        assert_eq!(
            subject("audit.route.create", "r", "null"),
            Some(Subject::Changed("r".into()))
        );
        assert_eq!(
            subject(
                "audit.app.unmap-route",
                "a",
                r#"{"route_guid":"r","app_port":-1}"#
            ),
            Some(Subject::Said(Said::Unmapped("r".into(), "a".into())))
        );
        assert_eq!(
            subject("audit.route.delete-request", "r", r#"{"recursive":true}"#),
            Some(Subject::Said(Said::RouteDeleted("r".into())))
        );
        assert_eq!(
            subject("audit.app.delete-request", "a", "{}"),
            Some(Subject::Said(Said::AppDeleted("a".into())))
        );
        assert_eq!(
            subject("audit.app.start", "a", "{}"),
            Some(Subject::Nothing)
        );
        assert_eq!(subject("audit.app.map-route", "a", "{}"), None);
    }

    #[test]
    fn an_event_of_a_binding_names_the_route_in_each_api() {
        let v3 = r#"{"request":{"relationships":{"route":{"data":{"guid":"r"}},
            "service_instance":{"data":{"guid":"s"}}}}}"#;
        let guids = r#"{"request":{"app_guid":null,"route_guid":"r","service_instance_guid":"s"}}"#;
        let binding = |route: Option<&str>, binding| {
            Some(Subject::Binding(route.map(RouteGuid::from), binding))
        };
        let made = |event_type, data| {
            assert_eq!(
                subject(event_type, "b", data),
                binding(Some("r"), Binding::Made),
                "{event_type}"
            );
        };
        made("audit.service_route_binding.start_create", v3);
        made("audit.service_route_binding.create", v3);
        made("audit.service_instance.bind_route", guids);
        for event_type in [
            "audit.service_route_binding.delete",
            "audit.service_instance.unbind_route",
        ] {
            assert_eq!(
                subject(event_type, "b", guids),
                binding(Some("r"), Binding::Deleted)
            );
        }
        assert_eq!(
            subject("audit.service_route_binding.create", "b", "{}"),
            binding(None, Binding::Made)
        );
        let unfollowed = "audit.service_route_binding.start_delete";
        assert_eq!(subject(unfollowed, "b", guids), Some(Subject::Nothing));
    }
}
