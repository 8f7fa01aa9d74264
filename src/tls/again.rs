//! The operator's word that certificates are to be read again now, and not at the next look.

use std::sync::LazyLock;

use tokio::sync::watch;

/// How often it was said. One for the process, as the signal is.
static SAID: LazyLock<watch::Sender<u64>> = LazyLock::new(watch::Sender::default);

/// Has whoever reads certificates read them again.
pub fn read_again() {
    SAID.send_modify(|times| *times += 1);
}

/// Changes when certificates are to be read again.
pub fn to_be_read_again() -> watch::Receiver<u64> {
    SAID.subscribe()
}
