//! JSON as people write it: what a parser passes over in silence, or says in words of its own, is told by name.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::reader::Problem;

/// Why bytes are no text for a JSON parser.
pub(super) fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => {
            Err("begins with a byte order mark: save it as UTF-8 without one")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Err("is UTF-16: save it as UTF-8")
        }
        _ => std::str::from_utf8(bytes).map_err(|_| "is no UTF-8"),
    }
}

/// Whether a parser has stopped at a comment.
pub(super) fn is_comment(text: &str, error: &serde_json::Error) -> bool {
    let line = text.lines().nth(error.line().saturating_sub(1));
    let at = error.column().saturating_sub(1);
    // A parser may have taken the slash before it stopped.
    let rests = [at, at.saturating_sub(1)].map(|at| line.and_then(|line| line.get(at..)));
    let begins = |rest: &str| ["//", "/*", "#"].iter().any(|sign| rest.starts_with(sign));
    rests.into_iter().flatten().any(begins)
}

/// The object, and the keys that are in it twice: of those a parser keeps the last.
pub(super) fn object(text: &str) -> Result<(Map<String, Value>, Vec<Problem>), serde_json::Error> {
    let mut twice = Vec::new();
    let mut parser = serde_json::Deserializer::from_str(text);
    let path = String::new();
    let value = Unique {
        path,
        twice: &mut twice,
    }
    .deserialize(&mut parser)?;
    parser.end()?;
    match value {
        Value::Object(object) => Ok((object, twice)),
        _ => Err(serde_json::Error::custom("no object")),
    }
}

/// A value at a path.
struct Unique<'t> {
    path: String,
    twice: &'t mut Vec<Problem>,
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, values.len());
            let element = Unique {
                path,
                twice: &mut *self.twice,
            };
            match list.next_element_seed(element)? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = if self.path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", self.path)
            };
            if object.contains_key(&key) {
                let what = "is there twice".to_owned();
                self.twice.push(Problem {
                    key: path.clone(),
                    what,
                });
            }
            let value = map.next_value_seed(Unique {
                path,
                twice: &mut *self.twice,
            })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
