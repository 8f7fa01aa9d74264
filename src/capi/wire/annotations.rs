//! The annotations of routes that are for the mesh.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    model::{Asked, Wrong, hostname::domain_name},
    outbound::InvalidJson,
};

/// How the names of annotations begin that are for the mesh: a domain name and a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationPrefix(Arc<str>);

/// What no annotation of Cloud Controller begins with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no domain name with a slash behind it")]
pub struct NoPrefix(String);

impl Default for AnnotationPrefix {
    fn default() -> Self {
        Self("mesh.cloudfoundry.org/".into())
    }
}

impl FromStr for AnnotationPrefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let domain = text.strip_suffix('/');
        let is_domain =
            |name: &str| !name.starts_with('*') && domain_name(&name.to_ascii_lowercase()).is_ok();
        if domain.is_some_and(is_domain) {
            Ok(Self(text.into()))
        } else {
            Err(NoPrefix(text.to_owned()))
        }
    }
}

#[derive(Deserialize)]
struct WireMetadata<'a> {
    #[serde(borrow)]
    annotations: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
}

/// What the annotations of a route ask for, each read alone. `None` if there is no word on them.
///
/// # Errors
/// They cannot be told apart.
pub(super) fn asked(
    metadata: &RawValue,
    AnnotationPrefix(prefix): &AnnotationPrefix,
) -> Result<Option<Asked>, InvalidJson> {
    let metadata: Option<WireMetadata> = serde_json::from_str(metadata.get())?;
    let Some(all) = metadata.and_then(|metadata| metadata.annotations) else {
        return Ok(None);
    };
    let own = all.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(&**prefix)?;
        let value: Result<Option<Cow<'_, str>>, _> = serde_json::from_str(value.get());
        Some((name, value))
    });
    let (mut texts, mut unreadable) = (Vec::new(), Vec::new());
    for (name, value) in own {
        match value {
            Ok(Some(text)) => texts.push((name, text)),
            Ok(None) => {}
            Err(_) => unreadable.push(name),
        }
    }
    let mut asked = Asked::parse(texts.iter().map(|(name, text)| (*name, &**text)));
    let unreadable = unreadable.into_iter();
    asked
        .wrong
        .extend(unreadable.map(|name| Wrong::new(name, "this is no text")));
    Ok(Some(asked))
}

/// The annotations of a route that are left out.
#[derive(Debug)]
pub(super) struct LeftOut(Vec<Wrong>);

impl LeftOut {
    pub(super) fn of(wrong: Vec<Wrong>) -> Option<Self> {
        (!wrong.is_empty()).then_some(Self(wrong))
    }
}

/// Of more, the route's owner hears once these are right.
const MAX_NAMED: usize = 5;

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wrong) in self.0.iter().take(MAX_NAMED).enumerate() {
            write!(f, "{}{wrong}", if index == 0 { "" } else { "; " })?;
        }
        match self.0.len().saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for LeftOut {}
