//! The push API over real sockets, as Cloud Controller calls it and as nobody should.

mod bulk_sync;
mod calls;
mod hostile;
mod rig;
