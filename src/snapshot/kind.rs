//! The kinds of resources, of each of which there is one collection.

use std::ops::{Index, IndexMut};

/// A kind of resource, and with it a collection. In the order of the collections' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// How a service is reached.
    DestinationRule,
    /// Where requests from outside come in.
    Gateway,
    /// The ports and endpoints of a service.
    ServiceEntry,
    /// Which services an app is told of.
    Sidecar,
    /// Which requests go where.
    VirtualService,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DestinationRule,
        Self::Gateway,
        Self::ServiceEntry,
        Self::Sidecar,
        Self::VirtualService,
    ];

    /// The kind by Istio's name of it, as it is in the type URLs of MCP-over-xDS.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind of an MCP collection.
    pub fn from_collection(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.collection() == name)
    }

    /// Istio's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DestinationRule => "DestinationRule",
            Self::Gateway => "Gateway",
            Self::ServiceEntry => "ServiceEntry",
            Self::Sidecar => "Sidecar",
            Self::VirtualService => "VirtualService",
        }
    }

    /// The name of its MCP collection, by which logs, metrics and the admin surface call it, too.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::DestinationRule => "istio/networking/v1alpha3/destinationrules",
            Self::Gateway => "istio/networking/v1alpha3/gateways",
            Self::ServiceEntry => "istio/networking/v1alpha3/serviceentries",
            Self::Sidecar => "istio/networking/v1alpha3/sidecars",
            Self::VirtualService => "istio/networking/v1alpha3/virtualservices",
        }
    }
}

/// Something of each kind.
#[derive(Debug, Clone, Default)]
pub struct ByKind<T>([T; Kind::ALL.len()]);

impl<T> ByKind<T> {
    /// Each with its kind.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &T)> {
        Kind::ALL.into_iter().zip(&self.0)
    }

    /// Something else of each.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> ByKind<U> {
        ByKind(self.0.map(make))
    }
}

impl<T: Default, U: Into<T>> FromIterator<(Kind, U)> for ByKind<T> {
    fn from_iter<I: IntoIterator<Item = (Kind, U)>>(items: I) -> Self {
        let mut all = Self::default();
        for (kind, item) in items {
            all[kind] = item.into();
        }
        all
    }
}

impl<T> Index<Kind> for ByKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<Kind> for ByKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize]
    }
}
