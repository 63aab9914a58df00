//! What a request carries, in pieces: the notifications' bodies are shared with other requests, and never copied as a whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use smallvec::{SmallVec, smallvec};

/// Small pieces are sent together, at most so many bytes; larger ones as they are.
const FRAME_BYTES: usize = 16 << 10;

/// The body of a request.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    pieces: SmallVec<[Bytes; 1]>,
    /// Pieces that are handed out already.
    sent: usize,
}

impl From<Bytes> for Payload {
    fn from(body: Bytes) -> Self {
        Self { pieces: smallvec![body], sent: 0 }
    }
}

impl Payload {
    const HEAD: &[u8] = br#"{"type":"batch","notifications":["#;
    const TAIL: &[u8] = b"]}";

    /// Several notifications, in this order, as a JSON object.
    #[must_use]
    pub fn batch(bodies: impl IntoIterator<Item = Bytes>) -> Self {
        let mut pieces: SmallVec<[Bytes; 1]> = smallvec![Bytes::from_static(Self::HEAD)];
        for (nth, body) in bodies.into_iter().enumerate() {
            if nth > 0 {
                pieces.push(Bytes::from_static(b","));
            }
            pieces.push(body);
        }
        pieces.push(Bytes::from_static(Self::TAIL));
        Self { pieces, sent: 0 }
    }

    /// The bytes that are still to be sent, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.rest().iter().map(|piece| &piece[..])
    }

    fn rest(&self) -> &[Bytes] {
        self.pieces.get(self.sent..).unwrap_or_default()
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        let first = self.rest().first()?.clone();
        self.sent += 1;
        if first.len() >= FRAME_BYTES || self.rest().is_empty() {
            return Some(first);
        }
        let mut frame = BytesMut::with_capacity(FRAME_BYTES);
        frame.extend_from_slice(&first);
        while let Some(next) = self.pieces.get(self.sent).filter(|next| frame.len() + next.len() <= FRAME_BYTES) {
            frame.extend_from_slice(next);
            self.sent += 1;
        }
        Some(frame.freeze())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.get_mut().next_frame().map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_what_was_signed_and_of_the_size_that_was_told() {
        let large = Bytes::from(format!("\"{}\"", "7".repeat(3 * FRAME_BYTES)));
        let small = |text: &'static str| Bytes::from_static(text.as_bytes());
        for payload in [
            Payload::from(small("{}")),
            Payload::from(large.clone()),
            Payload::batch([small("1")]),
            Payload::batch([small("1"), large.clone(), small("2"), small("3"), large]),
            Payload::batch((0..10_000).map(|_| small("[1,2,3]"))),
        ] {
            let pieces: Vec<u8> = payload.pieces().flatten().copied().collect();
            assert_eq!(payload.size_hint().exact(), Some(pieces.len() as u64));
            let sent = payload.collect().await.unwrap().to_bytes();
            assert_eq!(sent, pieces);
            serde_json::from_slice::<serde_json::Value>(&sent).unwrap();
        }
    }

    #[test]
    fn a_batch_is_what_the_subscriber_was_told() {
        let payload = Payload::batch([Bytes::from_static(b"{\"id\":1}"), Bytes::from_static(b"{\"id\":2}")]);
        let text: Vec<u8> = payload.pieces().flatten().copied().collect();
        assert_eq!(text, br#"{"type":"batch","notifications":[{"id":1},{"id":2}]}"#);
    }
}
