//! Where routes come from: read from Cloud Controller, or pushed by it.

use super::{
    capi, cloud_controller,
    tcp_routes::{self, TcpRoutes},
};
use crate::{capi::TcpSettings, config::reader::Section};

/// Where routes come from.
#[derive(Debug)]
pub enum Routes {
    /// They are read from Cloud Controller.
    Polled(Box<crate::capi::Settings>),
    /// Cloud Controller pushes them.
    Pushed(crate::cloud_controller::Settings),
}

impl Routes {
    /// What tells the foundation from others: Cloud Controller's address and the mesh's domains.
    pub(super) fn foundation(&self) -> String {
        match self {
            Self::Polled(settings) => {
                let domains = settings.domains.iter();
                let mut domains: Vec<_> = domains.map(ToString::to_string).collect();
                domains.sort();
                format!("{} {}", settings.api, domains.join(" "))
            }
            Self::Pushed(_) => "pushed".to_owned(),
        }
    }
}

/// Where routes come from, and the TCP routes that are read beside them.
pub(crate) fn read(root: &mut Section<'_>) -> (Option<Routes>, TcpRoutes) {
    let tcp = tcp_routes::read(root);
    (routes(root, tcp.polled.clone()), tcp)
}

fn routes(root: &mut Section<'_>, tcp: Option<TcpSettings>) -> Option<Routes> {
    if let Some(object) = root.object("CAPI") {
        cloud_controller::ignore(root);
        let settings = capi::read(root, object)?;
        let settings = crate::capi::Settings { tcp, ..settings };
        return Some(Routes::Polled(Box::new(settings)));
    }
    if !cloud_controller::is_there(root) {
        root.problem(
            "CAPI",
            "is required to read routes from Cloud Controller, or else ListenAddressForCloudController where it pushes them",
        );
        return None;
    }
    if root.has("MeshDomains") {
        root.problem("MeshDomains", "is for routes that are read: it needs CAPI");
    }
    if tcp.is_some() {
        root.problem("TCPRoutes", "is for routes that are read: it needs CAPI");
    }
    Some(Routes::Pushed(cloud_controller::read(root)))
}
