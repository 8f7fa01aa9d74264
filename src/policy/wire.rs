//! The policy server's answer, read leniently: what is not needed is skipped, a bad policy is left out by itself.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use url::Url;

use super::Error;
use crate::{
    feed::{Dropped, Drops, cut},
    model::{AppGuid, Policy, PortRange, Transport},
    outbound::{InvalidJson, json},
};

/// Five times a UUID's length; what is longer is no guid of Cloud Controller.
const MAX_GUID: usize = 200;
/// Twenty times the largest foundation's. What is beyond is counted and not looked at.
const MAX_POLICIES: usize = 500_000;

/// What an answer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Sorted, without duplicates.
    pub(super) policies: Vec<Policy>,
    /// The policies that cannot be read.
    pub(super) dropped: Drops,
    /// How many these are, whatever their names.
    pub(super) unreadable: usize,
    /// How many there are in all.
    listed: usize,
}

#[derive(Deserialize)]
struct WireAnswer {
    total_policies: usize,
    /// Go writes an empty list as `null` if nobody has made one.
    policies: Option<Answer>,
}

/// One after the other, so that of what cannot be read no more is held than can be told.
impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Policies)
    }
}

struct Policies;

impl<'de> Visitor<'de> for Policies {
    type Value = Answer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of policies")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Answer, A::Error> {
        let mut answer = Answer::default();
        while answer.listed < MAX_POLICIES
            && let Some(raw) = list.next_element::<&RawValue>()?
        {
            match policy(answer.listed, raw) {
                Ok(policy) => answer.policies.push(policy),
                Err(dropped) => {
                    answer.unreadable += 1;
                    answer.dropped.push(dropped);
                }
            }
            answer.listed += 1;
        }
        while answer.listed >= MAX_POLICIES && list.next_element::<IgnoredAny>()?.is_some() {
            answer.listed += 1;
        }
        answer.policies.sort_unstable();
        answer.policies.dedup();
        Ok(answer)
    }
}

#[derive(Deserialize)]
struct WirePolicy<'a> {
    #[serde(borrow)]
    source: WireApp<'a>,
    #[serde(borrow)]
    destination: WireDestination<'a>,
}

#[derive(Deserialize)]
struct WireApp<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WireDestination<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    ports: WirePorts,
}

#[derive(Deserialize)]
struct WirePorts {
    start: u16,
    end: u16,
}

/// A guid that Cloud Controller cannot have given.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no guid")]
struct InvalidGuid(String);

/// Reads the answer of `url`.
pub(super) fn answer(url: &Url, body: &[u8]) -> Result<Answer, Error> {
    let wire: WireAnswer = json(url, body)?;
    let answer = wire.policies.unwrap_or_default();
    if answer.listed > MAX_POLICIES {
        return Err(Error::TooMany {
            url: url.clone(),
            listed: answer.listed,
            limit: MAX_POLICIES,
        });
    }
    if answer.listed != wire.total_policies {
        return Err(Error::Short {
            url: url.clone(),
            listed: answer.listed,
            total: wire.total_policies,
        });
    }
    Ok(answer)
}

fn policy(index: usize, raw: &RawValue) -> Result<Policy, Dropped> {
    let wire: WirePolicy = serde_json::from_str(raw.get()).map_err(|error| Dropped {
        name: format!("policy {index}"),
        reason: "malformed",
        detail: InvalidJson::from(error).to_string(),
    })?;
    let WirePolicy {
        source,
        destination: to,
    } = wire;
    let WirePorts { start, end } = to.ports;
    let apps = format!("{} to {}", source.id, to.id);
    let dropped = |name: &str, reason, detail| Dropped {
        name: name.to_owned(),
        reason,
        detail,
    };
    let guid = |id| guid(id).map_err(|error| dropped(&apps, "invalid_guid", error.to_string()));
    // Between two apps there can be several.
    let whole = || format!("{apps}, {} {start}-{end}", to.protocol);
    let protocol = || {
        let detail = "neither tcp nor udp".to_owned();
        dropped(&whole(), "invalid_protocol", detail)
    };
    let ports = || {
        let detail = "no ports, or port 0 among them".to_owned();
        dropped(&whole(), "invalid_ports", detail)
    };
    Ok(Policy {
        source: guid(&source.id)?,
        destination: guid(&to.id)?,
        transport: transport(&to.protocol).ok_or_else(protocol)?,
        ports: PortRange::new(start, end).ok_or_else(ports)?,
    })
}

/// As the policy server spells them. What it may let pass beside them in years to come is not known to let HTTP pass.
fn transport(protocol: &str) -> Option<Transport> {
    match protocol {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

/// App guids become names of Sidecars: only what fits there is one.
fn guid(text: &str) -> Result<AppGuid, InvalidGuid> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=MAX_GUID).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(AppGuid::from(text))
    } else {
        Err(InvalidGuid(cut(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::feed::Kind;

    #[test]
    fn more_policies_than_anybody_has_are_counted_and_not_read() {
        let body = format!(
            r#"{{"total_policies":1,"policies":[{}0]}}"#,
            "0,".repeat(600_000)
        );
        let error = read(&body).unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
        assert!(error.to_string().contains("600001 policies"), "{error}");
    }

    fn read(body: &str) -> Result<Answer, Error> {
        let url = Url::parse("https://policy-server.example.com/").unwrap();
        answer(&url, body.as_bytes())
    }

    fn allowed(source: &str, destination: &str) -> Policy {
        Policy::at(source, destination, Transport::Tcp, (8080, 8080))
    }

    fn json_policy(source: &str, destination: &str) -> serde_json::Value {
        json!({
            "source": {"id": source},
            "destination":
                {"id": destination, "protocol": "tcp", "ports": {"start": 8080, "end": 8080}},
        })
    }

    fn kind(body: &str) -> Kind {
        read(body).unwrap_err().kind()
    }

    #[test]
    fn reads_what_the_policy_server_writes() {
        let body = r#"{"total_policies":3,"policies":[
            {"source":{"id":"b","tag":"0001"},"destination":
                {"id":"c","tag":"0002","protocol":"tcp","ports":{"start":8080,"end":8080}}},
            {"source":{"id":"b","tag":"0001"},"destination":
                {"id":"c","tag":"0002","protocol":"udp","ports":{"start":9090,"end":9099}}},
            {"source":{"id":"a"},"destination":
                {"id":"c","protocol":"tcp","port":0,"ports":{"start":1,"end":65535}}}],
            "total_egress_policies":1,"egress_policies":[{}]}"#;
        let answer = read(body).unwrap();
        assert_eq!(
            answer.policies,
            [
                Policy::at("a", "c", Transport::Tcp, (1, 65_535)),
                allowed("b", "c"),
                Policy::at("b", "c", Transport::Udp, (9090, 9099)),
            ]
        );
        assert!(answer.dropped.is_empty());
    }

    #[test]
    fn an_empty_list_may_be_null() {
        for body in [
            r#"{"total_policies":0,"policies":[]}"#,
            r#"{"total_policies":0,"policies":null}"#,
        ] {
            assert_eq!(read(body).unwrap(), Answer::default());
        }
    }

    #[test]
    fn what_is_no_list_of_policies_is_no_answer() {
        assert_eq!(kind("<html>"), Kind::Malformed);
        assert_eq!(kind("{}"), Kind::Malformed);
        assert_eq!(kind("[]"), Kind::Malformed);
        assert_eq!(
            kind(r#"{"total_policies":0,"policies":{}}"#),
            Kind::Malformed
        );
        assert_eq!(
            kind(r#"{"total_policies":1,"policies":[{"#),
            Kind::Truncated
        );
        assert_eq!(kind(""), Kind::Truncated);
    }

    #[test]
    fn a_list_of_another_length_than_announced_is_a_short_read() {
        let body =
            r#"{"total_policies":2,"policies":[{"source":{"id":"a"},"destination":{"id":"b"}}]}"#;
        let error = read(body).unwrap_err();
        assert_eq!(error.kind(), Kind::Truncated);
        assert!(error.to_string().contains("lists 1 policies"), "{error}");
        assert_eq!(
            kind(r#"{"total_policies":1,"policies":null}"#),
            Kind::Truncated
        );
    }

    #[test]
    fn a_bad_policy_is_named_and_the_rest_counts() {
        let long = "a".repeat(MAX_GUID + 1);
        let apps = json_policy;
        let to = |protocol: &str, start: i32, end: i32| {
            let mut policy = apps("a", "b");
            policy["destination"]["protocol"] = json!(protocol);
            policy["destination"]["ports"] = json!({"start": start, "end": end});
            policy
        };
        let policies = json!([
            apps("a", "b"),
            apps("", "b"),
            apps("a", "../b"),
            apps("a", "b\u{0}"),
            apps(&long, "b"),
            {"source": {"id": 5}, "destination": {"id": "b"}},
            17,
            apps("a.B_c-1", &long[1..]),
            to("icmp", 8, 8),
            to("tcp", 9, 8),
            to("tcp", 0, 8),
            to("tcp", 1, 65_536),
            to("tcp", -1, 1),
            {"source": {"id": "a"}, "destination": {"id": "b"}},
        ]);
        let body = json!({"total_policies": 14, "policies": policies}).to_string();
        let answer = read(&body).unwrap();
        assert_eq!(
            answer.policies,
            [allowed("a", "b"), allowed("a.B_c-1", &long[1..])]
        );
        let dropped: Vec<_> = answer
            .dropped
            .named()
            .values()
            .map(|dropped| (dropped.name.as_str(), dropped.reason))
            .collect();
        assert_eq!(
            dropped,
            [
                (" to b", "invalid_guid"),
                ("a to ../b", "invalid_guid"),
                ("a to b\u{0}", "invalid_guid"),
                ("a to b, icmp 8-8", "invalid_protocol"),
                ("a to b, tcp 0-8", "invalid_ports"),
                ("a to b, tcp 9-8", "invalid_ports"),
                (&format!("{long} to b"), "invalid_guid"),
                ("policy 11", "malformed"),
                ("policy 12", "malformed"),
                ("policy 13", "malformed"),
                ("policy 5", "malformed"),
                ("policy 6", "malformed"),
            ]
        );
    }

    proptest! {
        #[test]
        fn the_order_of_the_answer_does_not_matter(
            mut pairs in prop::collection::vec(("[a-d]", "[a-d]"), 0..20), turn in 0..20_usize,
        ) {
            let body = |pairs: &[(String, String)]| {
                let policies: Vec<_> = pairs
                    .iter()
                    .map(|(a, b)| json_policy(a, b))
                    .collect();
                json!({"total_policies": policies.len(), "policies": policies}).to_string()
            };
            let before = read(&body(&pairs)).unwrap();
            let turn = turn % pairs.len().max(1);
            pairs.rotate_left(turn);
            prop_assert_eq!(read(&body(&pairs)).unwrap(), before);
        }

        #[test]
        fn no_body_panics(body in ".{0,200}") {
            read(&body).ok();
        }
    }
}
