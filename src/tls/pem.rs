//! What is wrong with a PEM text, in words that repeat nothing of it: it may be a private key.

use std::io;

use rustls::pki_types::pem;

/// Why a PEM text cannot be read.
///
/// The parser's own errors quote the line at fault, which is the whole text where its line breaks are lost.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read.
    #[error("I/O error")]
    Io(#[source] io::Error),
    /// A section begins and does not end.
    #[error("a section has no END line; are the line breaks lost?")]
    NoEnd,
    /// A BEGIN line goes on where it should end.
    #[error("a BEGIN line is malformed; are the line breaks lost?")]
    BadBegin,
    /// The content of a section is not base64.
    #[error("a section is not base64")]
    NotBase64,
    /// There is no section of the wanted kind.
    #[error("no such section in it")]
    Nothing,
    /// A section is too large.
    #[error("a section is too large")]
    TooLarge,
    /// Anything else.
    #[error("not well-formed")]
    Malformed,
}

impl From<pem::Error> for PemError {
    fn from(error: pem::Error) -> Self {
        match error {
            pem::Error::Io(error) => Self::Io(error),
            pem::Error::MissingSectionEnd { .. } => Self::NoEnd,
            pem::Error::IllegalSectionStart { .. } => Self::BadBegin,
            pem::Error::Base64Decode(_) => Self::NotBase64,
            pem::Error::NoItemsFound => Self::Nothing,
            pem::Error::SectionTooLarge => Self::TooLarge,
            // Not its own words: they may quote the text.
            _ => Self::Malformed,
        }
    }
}
