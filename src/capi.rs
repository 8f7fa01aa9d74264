//! The routes of the mesh, polled from Cloud Controller's v3 API.
//!
//! ```text
//! BBS: touched apps ─▶ poller ─▶ Update
//!                      │ └ reads: full, tail, refresh, bindings, processes ─ domains of the mesh
//!                      └ http: client, token, lists ─▶ UAA, Cloud Controller ─ wire: its objects
//! ```

mod domain_pattern;
mod domains;
mod doubt;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod http;
mod poller;
mod reads;
mod settings;
mod timestamp;
mod wire;

pub use self::{
    domain_pattern::{DomainPattern, InvalidDomainPattern},
    poller::{Poller, TcpPoller},
    settings::{Io, MAX_PAGE_SIZE, Settings, TcpIo, TcpSettings},
    wire::{AnnotationPrefix, NoPrefix},
};
