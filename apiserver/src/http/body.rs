//! The body of an answer: whole, or a stream of shared slices.
//!
//! Promise: a LIST or WATCH never exists as one buffer; each chunk is a slice the store already holds or a
//! few separating bytes. Dropping the body ends the work behind it.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};

/// Chunks of a streamed answer, in order.
pub type Chunks = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Body of every answer of the API server.
pub struct Body(Inner);

enum Inner {
    Whole(Option<Bytes>),
    Pieces(std::vec::IntoIter<Bytes>, u64),
    Stream(Chunks),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self(Inner::Whole(None))
    }

    /// Known pieces, sent as they are: their total length is announced.
    pub fn pieces(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(|p| p.len() as u64).sum();
        Self(Inner::Pieces(pieces.into_iter(), length))
    }

    /// Chunks of unknown total length.
    pub fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Inner::Stream(Box::pin(chunks)))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::Whole((!bytes.is_empty()).then_some(bytes)))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            Inner::Whole(bytes) => bytes.take(),
            Inner::Pieces(pieces, left) => {
                let next = pieces.next();
                *left -= next.as_ref().map_or(0, |p| p.len() as u64);
                next
            }
            Inner::Stream(chunks) => {
                return chunks.as_mut().poll_next(cx).map(|c| c.map(|b| Ok(Frame::data(b))));
            }
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_none(),
            Inner::Pieces(pieces, _) => pieces.len() == 0,
            Inner::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Inner::Pieces(_, left) => SizeHint::with_exact(*left),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Whole(bytes) => f.debug_tuple("Whole").field(bytes).finish(),
            Inner::Pieces(_, left) => f.debug_tuple("Pieces").field(left).finish(),
            Inner::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Everything a body sends, for forms that cannot be made piece by piece.
pub(crate) async fn collect(mut body: Body) -> Bytes {
    use http_body_util::BodyExt;
    let mut whole = bytes::BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    whole.freeze()
}
