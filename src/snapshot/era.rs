//! What Pilots and istiods have to be told differently.

/// Who reads a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Pilots up to 1.8, over classic MCP.
    Classic,
    /// istiods, over MCP-over-xDS.
    Xds,
}

impl Era {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Classic, Self::Xds];
}

/// Something for the readers of both eras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eras<T> {
    /// One and the same.
    Same(T),
    /// Each its own.
    Each {
        /// For classic MCP.
        classic: T,
        /// For MCP-over-xDS.
        xds: T,
    },
}

impl<T> Eras<T> {
    /// What an era is served.
    pub fn of(&self, era: Era) -> &T {
        match (self, era) {
            (Self::Same(both), _) => both,
            (Self::Each { classic, .. }, Era::Classic) => classic,
            (Self::Each { xds, .. }, Era::Xds) => xds,
        }
    }

    /// What there is: one, or two that differ.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (first, second) = match self {
            Self::Same(both) => (both, None),
            Self::Each { classic, xds } => (classic, Some(xds)),
        };
        std::iter::once(first).chain(second)
    }

    /// Makes something else of each. What is for both is made once, by the stricter rules of the classic era.
    pub(crate) fn try_map<U, E>(self, make: impl Fn(T, Era) -> Result<U, E>) -> Result<Eras<U>, E> {
        Ok(match self {
            Self::Same(both) => Eras::Same(make(both, Era::Classic)?),
            Self::Each { classic, xds } => Eras::Each {
                classic: make(classic, Era::Classic)?,
                xds: make(xds, Era::Xds)?,
            },
        })
    }
}

impl<T> From<T> for Eras<T> {
    fn from(both: T) -> Self {
        Self::Same(both)
    }
}

impl<T: Default> Default for Eras<T> {
    fn default() -> Self {
        Self::Same(T::default())
    }
}

impl<T: PartialEq> Eras<T> {
    /// Both, or one where they are equal.
    pub(crate) fn new(classic: T, xds: T) -> Self {
        if classic == xds {
            Self::Same(classic)
        } else {
            Self::Each { classic, xds }
        }
    }
}
