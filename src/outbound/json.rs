//! Reads JSON that a peer sent.

use serde::Deserialize;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};
use url::Url;

use super::error::Error;

/// What is longer is read where nothing waits for it.
const LONG: usize = 64 << 10;

/// Reads what `url` answered.
pub fn json<'a, T: Deserialize<'a>>(url: &Url, body: &'a [u8]) -> Result<T, Error> {
    let read = || serde_json::from_slice(body);
    let read = match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        // The other tasks of this thread go on elsewhere meanwhile.
        Ok(RuntimeFlavor::MultiThread) if body.len() > LONG => block_in_place(read),
        _ => read(),
    };
    read.map_err(|error| Error::Json {
        url: url.clone(),
        source: error.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, mpsc},
        time::Duration,
    };

    use serde::{
        Deserializer,
        de::{Error as _, IgnoredAny},
    };

    use super::*;

    /// Is read once another task has said so.
    #[derive(Debug)]
    struct Patient;

    static TOLD: Mutex<Option<mpsc::Receiver<()>>> = Mutex::new(None);

    impl<'de> Deserialize<'de> for Patient {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            IgnoredAny::deserialize(deserializer)?;
            let told = TOLD.lock().unwrap().take().unwrap();
            let told = told.recv_timeout(Duration::from_secs(10));
            told.map(|()| Self).map_err(D::Error::custom)
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_answer_that_is_long_to_read_keeps_no_other_task_waiting() {
        let (tell, told) = mpsc::channel();
        *TOLD.lock().unwrap() = Some(told);
        let reading = tokio::spawn(async move {
            tokio::spawn(async move { tell.send(()) });
            let url = Url::parse("https://api.example.com/").unwrap();
            let body = format!("\"{}\"", "x".repeat(LONG));
            json::<Patient>(&url, body.as_bytes())
        });
        reading.await.unwrap().unwrap();
    }
}
