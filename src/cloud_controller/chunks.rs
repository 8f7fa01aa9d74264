//! Puts the chunks of a BulkSync together.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tonic::Status;

use super::Refused;
use crate::proto::api::BulkSyncRequestChunk;

/// Cloud Controller's client gives up after five seconds; a slow link gets more, and none holds its place for ever.
const RECEIVE: Duration = Duration::from_mins(1);

/// The bytes of all chunks, at most `limit`. Chunks may be empty: Cloud Controller's client ends with one. None at all
/// is the encoding of a BulkSync of nothing.
pub(super) async fn collect(
    chunks: impl Stream<Item = Result<BulkSyncRequestChunk, Status>> + Unpin,
    limit: usize,
) -> Result<Vec<u8>, Refused> {
    tokio::time::timeout(RECEIVE, append(chunks, limit))
        .await
        .unwrap_or(Err(Refused::Slow(RECEIVE)))
}

/// Copies each chunk: a slice would hold the whole buffer that it was received in.
async fn append(
    mut chunks: impl Stream<Item = Result<BulkSyncRequestChunk, Status>> + Unpin,
    limit: usize,
) -> Result<Vec<u8>, Refused> {
    let mut whole = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(Refused::Stream)?.chunk;
        if chunk.len() > limit - whole.len() {
            return Err(Refused::TooLarge { limit });
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::Instant;

    use super::*;

    fn chunks(chunks: &[&'static str]) -> impl Stream<Item = Result<BulkSyncRequestChunk, Status>> {
        let chunk = |text: &'static str| BulkSyncRequestChunk { chunk: text.into() };
        stream::iter(
            chunks
                .iter()
                .map(|text| Ok(chunk(text)))
                .collect::<Vec<_>>(),
        )
    }

    #[tokio::test]
    async fn the_limit_is_that_of_all_chunks_together() {
        let chunks = || chunks(&["ab", "", "cd", ""]);
        assert_eq!(collect(chunks(), 4).await.unwrap(), b"abcd");
        let refused = collect(chunks(), 3).await.unwrap_err();
        assert!(matches!(refused, Refused::TooLarge { limit: 3 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_does_not_end_is_given_up() {
        let endless = chunks(&["ab"]).chain(stream::pending());
        let begun = Instant::now();
        let refused = collect(endless, 4).await.unwrap_err();
        assert!(matches!(refused, Refused::Slow(RECEIVE)));
        assert_eq!(begun.elapsed(), RECEIVE, "of a clock that stands still");
    }
}
