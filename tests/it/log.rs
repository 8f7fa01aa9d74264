//! The lines of the log as any JSON parser reads them: nothing in them is lost, and nothing has to be parsed once more.

use std::fmt;

use copilot::{
    istio::Kind,
    sim::sink::{self, Answer, Options, Sink},
    tls,
};
use regex::Regex;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value, json};

use crate::{
    mesh::{collections, eager, foundation, with},
    process::Process,
};

/// An object with no key twice, of which parsers keep the first, the last or nothing.
struct Once(Map<String, Value>);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value::<Value>()?;
            if object.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("{key} is there twice")));
            }
        }
        Ok(Once(object))
    }
}

/// A line of the log, by a parser that takes no key twice.
pub fn line(text: &str) -> serde_json::Result<Value> {
    let Once(object) = serde_json::from_str(text)?;
    Ok(Value::Object(object))
}

#[test]
fn a_key_that_is_there_twice_is_found() {
    assert!(line(r#"{"a":1,"b":{"a":2}}"#).is_ok());
    assert!(line(r#"{"a":1,"a":1}"#).is_err());
}

/// What only a program in Rust could read.
fn is_debug_text(value: &Value) -> bool {
    let debug =
        Regex::new(r#"^([\[{(].*["\d}][\])}]|\w+ \{.*\}|Some\(.*\)|\d+(\.\d+)?(ns|µs|ms|s))$"#)
            .unwrap();
    value.as_str().is_some_and(|text| debug.is_match(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_read_without_loss_whatever_goes_wrong() {
    let (mut foundation, _) = foundation().await;
    foundation.load(30, 30);
    let state = foundation.folder().join("state");
    let config = with(
        eager(foundation.config()),
        &[
            ("/LogLevel", json!("debug")),
            ("/StateFile", json!(state)),
            ("/CertificateReloadInterval", json!("24h")),
        ],
    );
    let mut process = Process::serve(&foundation, "lines.json", &config);
    let address = process.address("mcp_address");
    let mut lines = std::mem::take(&mut process.started);
    lines.extend(process.logs_until("first snapshot").await);

    let pilot = foundation
        .connect_pilot(address, collections())
        .await
        .unwrap();
    lines.extend(process.logs_until("acknowledged").await);
    drop(pilot);
    lines.extend(process.logs_until("stream closed").await);
    let pilot = tls::Identity {
        cert: foundation.folder().join("pilot.crt"),
        key: foundation.folder().join("pilot.key"),
    };
    let client = tls::client(foundation.pki.ca(), Some(&pilot)).unwrap();
    let channel = sink::connect(address, client).await.unwrap();
    let options = Options {
        collections: vec![Kind::VirtualService.collection().to_owned()],
        ..Options::default()
    };
    let reject = |_: &_| Answer::Nack {
        code: 3,
        message: "no \"good\": [1]".to_owned(),
    };
    let sink = Sink::open(&channel, options, reject).await.unwrap();
    lines.extend(process.logs_until("rejected").await);
    let rejected = lines.last().unwrap();
    assert_eq!(rejected["reason"], "no \"good\": [1]", "{rejected:#}");
    drop(sink);

    {
        // At once: no read finds a part of them.
        let mut state = foundation.capi.state();
        for n in 0..30 {
            let route = state.route(&format!("app-{n:06}")).unwrap();
            state.delete_route_silently(&route);
        }
    }
    let held = "a read lacks much of what is served: it is held until later reads agree";
    lines.extend(process.logs_until(held).await);
    let line = lines.last().unwrap();
    assert_eq!(line["amount.routes"], 30, "{line:#}");
    assert!(
        line["names"]
            .as_str()
            .unwrap()
            .contains(".apps.example.com"),
        "{line:#}"
    );

    foundation.capi.stop().await;
    lines.extend(
        process
            .logs_until("feed failing; the last good state stays")
            .await,
    );
    process.hang_up();
    lines.extend(process.logs_until("certificates are as before").await);
    process.terminate();

    for line in &lines {
        for (key, value) in line.as_object().unwrap() {
            assert!(!is_debug_text(value), "{key} of {line:#}");
            assert!(
                !["took", "elapsed", "age", "idle"].contains(&&**key),
                "{line:#}"
            );
        }
    }
    let read = lines.iter().find(|line| line["message"] == "full read");
    assert!(read.unwrap()["seconds"].is_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_logged_by_hostname_at_info_where_that_is_wanted() {
    let (mut foundation, mut app) = foundation().await;
    // No list is to be faster than the event.
    let changes = [
        ("/LogChanges", json!(true)),
        ("/BBS/SyncInterval", json!("10m")),
    ];
    let config = with(eager(foundation.config()), &changes);
    let mut process = Process::serve(&foundation, "changes.json", &config);
    process.logs_until("first snapshot").await;
    let before = app.instances.len();
    foundation.scale(&mut app, 5);
    let lines = process.logs_until("published").await;
    let line = lines.last().unwrap();
    assert_eq!(line["level"], "INFO", "{line:#}");
    assert_eq!(line["host"], "shop.apps.example.com", "{line:#}");
    assert_eq!(line["cause"], "instance_event", "{line:#}");
    assert_eq!(line["endpoints_before"], before, "{line:#}");
}
