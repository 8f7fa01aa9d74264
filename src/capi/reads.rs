//! What is read of Cloud Controller, each kind of read in a file: it asks, and says what it was told. What is believed of
//! that and sent, the poller decides.

pub(super) mod batch;
pub(super) mod bindings;
mod collector;
pub(super) mod full;
pub(super) mod processes;
pub(super) mod refresh;
pub(super) mod tail;
