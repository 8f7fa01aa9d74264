//! The routes of the mesh, polled from Cloud Controller's v3 API.
//!
//! ```text
//! BBS: touched apps ─▶ poller ─▶ Update
//!                      │ │ └ guard: whether a full read is believed
//!                      │ └ reads: full, tail, refresh, bindings, processes ─ domains of the mesh
//!                      └ http: client, token, lists ─▶ UAA, Cloud Controller ─ wire: its objects
//! ```

mod domain_pattern;
mod domains;
mod error;
mod guard;
mod http;
mod poller;
mod reads;
mod settings;
mod timestamp;
mod wire;

pub use self::{
    domain_pattern::{DomainPattern, InvalidDomainPattern},
    error::Error,
    guard::Doubt,
    poller::Poller,
    settings::{Io, MAX_PAGE_SIZE, Settings},
};
