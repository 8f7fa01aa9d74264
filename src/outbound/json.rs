//! JSON that a peer sent, read without a word of it in any error: it may be a secret.

use serde::Deserialize;
use serde_json::error::Category;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};
use url::Url;

use super::error::Error;

/// What is wrong with a JSON text, and where.
///
/// The parser's own errors quote what they found in the place of what they expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} at line {line} column {column}", self.what())]
pub struct InvalidJson {
    category: Category,
    line: usize,
    column: usize,
}

impl InvalidJson {
    fn what(&self) -> &'static str {
        match self.category {
            Category::Eof => "the JSON breaks off",
            Category::Syntax | Category::Io => "no well-formed JSON",
            Category::Data => "JSON of another shape",
        }
    }

    /// Whether there is to be more of it.
    pub fn is_eof(&self) -> bool {
        self.category == Category::Eof
    }
}

impl From<serde_json::Error> for InvalidJson {
    fn from(error: serde_json::Error) -> Self {
        Self {
            category: error.classify(),
            line: error.line(),
            column: error.column(),
        }
    }
}

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
