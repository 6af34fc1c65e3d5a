//! How much memory the bodies of open requests may take together: they are read before anybody is believed.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is handed out in pieces of this size, in bytes.
const UNIT: usize = 1 << 10;
/// What a body of unknown length takes at a time, in bytes.
const STEP: usize = 64 << 10;
/// How long a body waits for memory.
const PATIENCE: Duration = Duration::from_secs(1);

/// The memory for bodies.
pub(super) struct BodyMemory(Arc<Semaphore>);

/// A body with its part of the memory, which is free again when its last reader has dropped it.
struct HeldBody {
    bytes: BytesMut,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// More bytes than it may have.
    TooLarge,
    /// It did not arrive whole.
    Broken,
    /// Other bodies take all the memory.
    NoMemory,
}

impl BodyMemory {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Reads a body of at most `most` bytes. It takes memory as it arrives, so that a length which is only
    /// announced keeps nobody out.
    pub(super) async fn read(&self, mut body: Body, headers: &HeaderMap, most: usize) -> Result<Bytes, Unread> {
        let announced = headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > most) {
            return Err(Unread::TooLarge);
        }
        let step = announced.unwrap_or(STEP).clamp(UNIT, STEP);
        let (mut bytes, mut share, mut room) = (BytesMut::new(), None, 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Unread::TooLarge);
            }
            while room < bytes.len() + data.len() {
                room += self.grow(&mut share, step.max(bytes.len() + data.len() - room).min(STEP)).await?;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(share.map_or_else(Bytes::new, |share| Bytes::from_owner(HeldBody { bytes, _share: share })))
    }

    /// Adds at least `bytes` to a share. Returns how many it has got.
    async fn grow(&self, share: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<usize, Unread> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).map_err(|_| Unread::TooLarge)?;
        let more = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_many_owned(units)).await;
        let Ok(Ok(more)) = more else { return Err(Unread::NoMemory) };
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(units as usize * UNIT)
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{HeaderMap, HeaderValue, header},
    };
    use bytes::Bytes;
    use futures_util::stream;

    use super::{BodyMemory, Unread};

    fn chunked(chunks: usize, bytes: usize) -> Body {
        Body::from_stream(stream::iter((0..chunks).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![7; bytes])))))
    }

    #[tokio::test]
    async fn bodies_share_the_memory_and_give_it_back() {
        let (memory, none) = (BodyMemory::new(256 << 10), HeaderMap::new());
        let first = memory.read(chunked(20, 10_000), &none, 1 << 20).await.unwrap();
        assert_eq!(first.len(), 200_000);
        let more =
            [memory.read(Body::from(vec![1; 100_000]), &none, 1 << 20), memory.read(Body::from("{}"), &none, 1 << 20)];
        for refused in futures_util::future::join_all(more).await {
            assert_eq!(refused.err(), Some(Unread::NoMemory), "64 KiB at a time: all is taken");
        }
        let kept = first.slice(5..7);
        drop(first);
        assert_eq!(memory.0.available_permits(), 0, "somebody still reads it");
        drop(kept);
        for _ in 0..10 {
            assert_eq!(memory.read(Body::from(vec![1; 100_000]), &none, 1 << 20).await.unwrap().len(), 100_000);
        }
        assert_eq!(memory.0.available_permits(), 256);
    }

    #[tokio::test]
    async fn a_body_is_no_longer_than_it_may_be_and_a_refused_one_holds_nothing() {
        let (memory, none) = (BodyMemory::new(256 << 10), HeaderMap::new());
        for body in [Body::from(vec![1; 1_001]), chunked(11, 100)] {
            assert_eq!(memory.read(body, &none, 1_000).await.err(), Some(Unread::TooLarge));
        }
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("1001"))]);
        assert_eq!(memory.read(Body::empty(), &announced, 1_000).await.err(), Some(Unread::TooLarge));
        let cut = Body::from_stream(stream::iter([Ok(Bytes::from("half")), Err(std::io::Error::other("cut"))]));
        assert_eq!(memory.read(cut, &none, 1_000).await.err(), Some(Unread::Broken));
        assert!(memory.read(Body::empty(), &none, 1_000).await.unwrap().is_empty());
        assert_eq!(memory.read(chunked(10, 100), &none, 1_000).await.unwrap().len(), 1_000);
        assert_eq!(memory.0.available_permits(), 256);
    }
}
