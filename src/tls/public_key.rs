//! The public half of a private key, of any size and on any curve. Nothing is signed with it here: it is compared with a
//! certificate's, so that a pair for somebody else's TLS need not be one for ours.

use rustls::pki_types::PrivateKeyDer;
use x509_parser::{
    certificate::X509Certificate,
    der_parser::{ber::BerObject, der::parse_der},
    prelude::FromDer as _,
    public_key::PublicKey,
};

/// `rsaEncryption` of RFC 8017, and `id-ecPublicKey` of RFC 5480.
const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC: &str = "1.2.840.10045.2.1";

/// Where the public key is in an `ECPrivateKey` (RFC 5915), which may be without.
const PUBLIC_KEY_TAG: u32 = 1;

/// A key that signatures are verified with.
#[derive(Debug, PartialEq, Eq)]
enum Public {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Point(Vec<u8>),
}

/// Whether a private key is the certificate's; `None` where that cannot be told.
pub(super) fn is_of(key: &PrivateKeyDer<'_>, certificate: &[u8]) -> Option<bool> {
    let own = match key {
        PrivateKeyDer::Pkcs1(key) => of_rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => of_elliptic(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => of_pkcs8(key.secret_pkcs8_der()),
        _ => None,
    };
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let certified = match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Public::Rsa {
            modulus: number(key.modulus),
            exponent: number(key.exponent),
        },
        PublicKey::EC(point) => Public::Point(point.data().to_vec()),
        _ => return None,
    };
    Some(own? == certified)
}

/// `PrivateKeyInfo` of RFC 5208: a version, an algorithm with its parameters, and the key.
fn of_pkcs8(der: &[u8]) -> Option<Public> {
    let (_, info) = parse_der(der).ok()?;
    let [_, algorithm, key, ..] = info.as_sequence().ok()?.as_slice() else {
        return None;
    };
    let oid = algorithm.as_sequence().ok()?.first()?.as_oid().ok()?;
    let key = key.as_slice().ok()?;
    match oid.to_id_string().as_str() {
        RSA => of_rsa(key),
        ELLIPTIC => of_elliptic(key),
        _ => None,
    }
}

/// `RSAPrivateKey` of RFC 8017: a version, the modulus and the public exponent are the first of it.
fn of_rsa(der: &[u8]) -> Option<Public> {
    let (_, key) = parse_der(der).ok()?;
    let [_, modulus, exponent, ..] = key.as_sequence().ok()?.as_slice() else {
        return None;
    };
    Some(Public::Rsa {
        modulus: number(modulus.as_slice().ok()?),
        exponent: number(exponent.as_slice().ok()?),
    })
}

fn of_elliptic(der: &[u8]) -> Option<Public> {
    let (_, key) = parse_der(der).ok()?;
    let is_public = |part: &&BerObject<'_>| {
        part.header.tag().0 == PUBLIC_KEY_TAG && part.header.is_contextspecific()
    };
    let tagged = key.as_sequence().ok()?.iter().find(is_public)?;
    let (_, point) = parse_der(tagged.as_slice().ok()?).ok()?;
    Some(Public::Point(point.as_slice().ok()?.to_vec()))
}

/// Without the zeros that only keep it positive.
fn number(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0);
    bytes[start.unwrap_or(bytes.len())..].to_vec()
}
