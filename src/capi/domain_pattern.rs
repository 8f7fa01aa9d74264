//! Patterns of domain names, as the configuration writes them.

use std::{fmt, str::FromStr};

use crate::model::Hostname;

/// RFC 1035, section 2.3.4.
const MAX_LABEL: usize = 63;
/// RFC 1035, section 2.3.4: 255 octets on the wire, which is so many characters between dots.
const MAX_NAME: usize = 253;

/// Which domains belong to the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainPattern {
    /// This one.
    Exact(Hostname),
    /// All below this one, at any depth.
    Suffix(Hostname),
}

/// Why a text is no domain pattern: Cloud Controller has no domain of such a name, and would be waited for in vain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {fault}{}", .meant.as_ref().map(|meant| format!("; did you mean {meant}?")).unwrap_or_default())]
pub struct InvalidDomainPattern {
    text: String,
    fault: Fault,
    /// What it would be without the fault, if that is plain.
    meant: Option<String>,
}

/// The rule that a text breaks: RFC 1123, section 2.1, to which Cloud Controller keeps for domains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("there is no name")]
    Empty,
    #[error("a name has at most {MAX_NAME} characters, this has {0}")]
    TooLong(usize),
    #[error("an asterisk is the whole first label, with a name after it, or not there")]
    Asterisk,
    #[error("a domain name has letters, digits, hyphens and dots, not {0:?}")]
    Character(char),
    #[error("two dots in a row, or one in front")]
    EmptyLabel,
    #[error("a label has at most {MAX_LABEL} characters, {0:?} has {len}", len = .0.len())]
    LongLabel(String),
    #[error("a label neither begins nor ends with a hyphen, as {0:?} does")]
    Hyphen(String),
    #[error("the last label of a name is not a number: is this an address?")]
    Number,
}

impl FromStr for DomainPattern {
    type Err = InvalidDomainPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|fault| InvalidDomainPattern {
            text: text.to_owned(),
            fault,
            meant: mended(text).filter(|meant| parse(meant).is_ok()),
        })
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Suffix(name) => write!(f, "*.{name}"),
        }
    }
}

impl DomainPattern {
    /// Whether a hostname can be of a domain that it stands for: its own name, or below it.
    pub fn covers(&self, host: &Hostname) -> bool {
        let (Self::Exact(domain) | Self::Suffix(domain)) = self;
        let head = host.as_str().strip_suffix(domain.as_str());
        head.is_some_and(|head| match self {
            Self::Exact(_) => head.is_empty() || head.ends_with('.'),
            Self::Suffix(_) => head.len() > 1 && head.ends_with('.'),
        })
    }

    /// The domain that it names.
    pub fn domain(&self) -> &Hostname {
        let (Self::Exact(domain) | Self::Suffix(domain)) = self;
        domain
    }

    pub(super) fn matches(&self, name: &Hostname) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Suffix(suffix) => name
                .as_str()
                .strip_suffix(suffix.as_str())
                .is_some_and(|head| head.len() > 1 && head.ends_with('.')),
        }
    }
}

fn parse(text: &str) -> Result<DomainPattern, Fault> {
    // The root's dot, which Cloud Controller does not write.
    let whole = text.strip_suffix('.').unwrap_or(text);
    let suffix = whole.strip_prefix("*.");
    let name = suffix.unwrap_or(whole);
    if name.contains('*') {
        return Err(Fault::Asterisk);
    }
    if name.is_empty() {
        return Err(Fault::Empty);
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if let Some(character) = name.chars().find(|c| !allowed(c)) {
        return Err(Fault::Character(character));
    }
    if whole.len() > MAX_NAME {
        return Err(Fault::TooLong(whole.len()));
    }
    name.split('.').try_for_each(label)?;
    let last = name.rsplit('.').next();
    if last.is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(Fault::Number);
    }
    let name = Hostname::parse(name).expect("labels of letters, digits and hyphens");
    Ok(match suffix {
        Some(_) => DomainPattern::Suffix(name),
        None => DomainPattern::Exact(name),
    })
}

fn label(label: &str) -> Result<(), Fault> {
    if label.is_empty() {
        Err(Fault::EmptyLabel)
    } else if label.len() > MAX_LABEL {
        Err(Fault::LongLabel(label.to_owned()))
    } else if label.starts_with('-') || label.ends_with('-') {
        Err(Fault::Hyphen(label.to_owned()))
    } else {
        Ok(())
    }
}

/// The name in a URL, and what is often written for `*.` and a name.
fn mended(text: &str) -> Option<String> {
    let text = text.trim();
    let name = text.split_once("://").map_or(text, |(_, name)| name);
    let name = name.split([':', '/', '?', '#']).next()?;
    Some(match name.trim_start_matches(['*', '.']) {
        rest if rest.len() < name.len() => format!("*.{rest}"),
        rest => rest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        text.parse::<DomainPattern>().unwrap_err().to_string()
    }

    #[test]
    fn a_suffix_matches_what_is_below_it_and_not_itself() {
        let pattern: DomainPattern = "*.Example.com".parse().unwrap();
        let matches = |name| pattern.matches(&Hostname::parse(name).unwrap());
        assert!(matches("a.example.com"));
        assert!(matches("a.b.example.com"));
        assert!(!matches("example.com"));
        assert!(!matches("badexample.com"));
        assert!(!matches(".example.com"));
    }

    #[test]
    fn an_exact_name_matches_itself_only() {
        let pattern: DomainPattern = "Apps.example.com".parse().unwrap();
        assert!(pattern.matches(&Hostname::parse("apps.example.com").unwrap()));
        assert!(!pattern.matches(&Hostname::parse("a.apps.example.com").unwrap()));
    }

    #[test]
    fn the_dot_of_the_root_and_capitals_make_no_difference() {
        for (text, plain) in [
            ("apps.example.com.", "apps.example.com"),
            ("*.Apps.Example.com.", "*.apps.example.com"),
            ("INTERNAL", "internal"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1a.2b.c3", "1a.2b.c3"),
        ] {
            let parsed: DomainPattern = text.parse().unwrap();
            assert_eq!(parsed, plain.parse().unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_no_hostname_is_refused_by_the_rule_that_it_breaks() {
        for (text, rule) in [
            ("", "there is no name"),
            (".", "there is no name"),
            ("*.", "an asterisk"),
            ("*", "an asterisk"),
            ("a.*.com", "an asterisk"),
            ("*.*.com", "an asterisk"),
            ("*a.com", "an asterisk"),
            ("a.b*", "an asterisk"),
            ("a..b", "two dots"),
            ("a.com..", "two dots"),
            ("*..com", "two dots"),
            ("-bad.com", "a label neither"),
            ("bad-.com", "a label neither"),
            ("*.a.-", "a label neither"),
            ("under_score.com", "a domain name has"),
            ("a b.com", "a domain name has"),
            ("a.com\n", "a domain name has"),
            ("b\u{fc}cher.example", "a domain name has"),
            ("user@a.com", "a domain name has"),
            ("a\u{0}.com", "a domain name has"),
            ("10.0.0.1", "the last label"),
            ("a.7", "the last label"),
        ] {
            let expected = format!("{text:?}: {rule}");
            assert!(said(text).starts_with(&expected), "{}", said(text));
            assert_eq!(said(text).lines().count(), 1);
        }
    }

    #[test]
    fn a_label_has_63_characters_at_most_and_a_name_253() {
        let label = |len| "a".repeat(len);
        assert!(
            format!("{}.com", label(63))
                .parse::<DomainPattern>()
                .is_ok()
        );
        let long = said(&format!("{}.com", label(64)));
        assert!(long.contains("at most 63 characters"), "{long}");
        assert!(long.ends_with("has 64"), "{long}");

        let name = |last| format!("{0}.{0}.{0}.{1}", label(63), label(last));
        assert!(name(61).parse::<DomainPattern>().is_ok());
        assert!(format!("{}.", name(61)).parse::<DomainPattern>().is_ok());
        assert!(said(&name(62)).ends_with("at most 253 characters, this has 254"));
        // No name of 253 characters is below it.
        assert!(said(&format!("*.{}", name(60))).ends_with("this has 254"));
    }

    #[test]
    fn what_was_probably_meant_is_said() {
        for (text, meant) in [
            (".foo.com", "*.foo.com"),
            (".foo.com.", "*.foo.com."),
            ("*foo.com", "*.foo.com"),
            ("**.foo.com", "*.foo.com"),
            ("*.*.foo.com", "*.foo.com"),
            ("https://apps.example.com/", "apps.example.com"),
            ("apps.example.com:8080", "apps.example.com"),
            ("apps.example.com/path", "apps.example.com"),
            (" apps.example.com\n", "apps.example.com"),
        ] {
            let said = said(text);
            assert!(
                said.ends_with(&format!("; did you mean {meant}?")),
                "{said}"
            );
        }
        for text in ["a..b", ".a_b.com", "10.0.0.1:80", "*", "."] {
            assert!(!said(text).contains("did you mean"), "{}", said(text));
        }
    }
}
