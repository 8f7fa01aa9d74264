//! What tests begin with.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    AppGuid, AppPort, Destination, Hostname, ProcessType, Protocol, Route, Weight, Workload,
};

impl Route {
    /// One that leads nowhere.
    pub(crate) fn example(guid: &str, host: &str) -> Self {
        Self {
            guid: guid.into(),
            host: Hostname::parse(host).unwrap(),
            path: Arc::default(),
            internal: false,
            vip: None,
            created_at: 1,
            load_balancing: None,
            settings: None,
            refused: None,
            destinations: SmallVec::new(),
        }
    }
}

impl Destination {
    /// The web processes of an app.
    pub(crate) fn example(app: &str) -> Self {
        Self {
            workload: Workload {
                app: AppGuid::from(app),
                process_type: ProcessType::Web,
            },
            port: AppPort::Number(8080),
            weight: Weight::Instances,
            protocol: Protocol::Http1,
        }
    }
}
