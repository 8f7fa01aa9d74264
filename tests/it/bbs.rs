//! The BBS's feed against a simulated BBS over real TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod captured;
mod faults;
mod lies;
mod life;
mod rig;
mod silence;
