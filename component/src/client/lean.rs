//! The two requests that a busy component makes thousands of times a second, without what nobody needs of them:
//! writes whose answer is not read, and watches taken line by line from the bytes that came.
//!
//! Promise: errors are the ones that kube's own client gives. A body is always read to its end, so that the
//! connection can be used again.

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::core::Status;
use kube::core::request::Error as BuildError;
use kube::{Client, Error};

/// Bytes of a line of a watch: an object is limited to a few MiB by the server.
const LINE_LIMIT: usize = 32 * 1024 * 1024;

/// Sends a write, as [`kube::core::Request`] makes it, and reads of its answer only whether it was refused.
///
/// # Errors
///
/// As kube's client: the Status of the server, or what broke on the way.
pub async fn write(client: &Client, request: Result<Request<Vec<u8>>, BuildError>) -> Result<(), Error> {
    let request = request.map_err(Error::BuildRequest)?;
    let mut body = accepted(client.send(request.map(Body::from)).await?).await?.into_body();
    while let Some(frame) = body.frame().await {
        drop(frame?);
    }
    Ok(())
}

/// Begins a watch.
///
/// # Errors
///
/// As [`write`].
pub(crate) async fn watch(client: &Client, mut request: Request<Vec<u8>>) -> Result<Lines, Error> {
    // A stream of many small compressed members is not what decompressing layers expect.
    let encoding = http::HeaderValue::from_static("identity");
    request.headers_mut().entry(http::header::ACCEPT_ENCODING).or_insert(encoding);
    let answer = accepted(client.send(request.map(Body::from)).await?).await?;
    Ok(Lines { body: answer.into_body(), rest: Bytes::new(), begun: BytesMut::new(), ended: false })
}

/// The answer, if it is no refusal.
async fn accepted(answer: Response<Body>) -> Result<Response<Body>, Error> {
    let code = answer.status();
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(answer);
    }
    let text = answer.into_body().collect().await?.to_bytes();
    let status = serde_json::from_slice::<Status>(&text).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&text);
        Status::failure(text.trim(), "Failed to parse error data").with_code(code.as_u16())
    });
    Err(Error::Api(status.boxed()))
}

/// The lines of a watch. A line that came in one piece is not copied.
pub(crate) struct Lines<B = Body> {
    body: B,
    /// What came and was not taken yet.
    rest: Bytes,
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
    ended: bool,
}

impl<B: http_body::Body<Data = Bytes, Error: std::fmt::Display> + Unpin> Lines<B> {
    /// The next line, without its end; waits for it. `None` when the watch has ended, in order or not: both mean that
    /// it is to be begun again from where it stopped. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.line() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            let frame = self.body.frame().await;
            self.take(frame);
        }
    }

    /// The next line if it has come already.
    pub(crate) fn ready(&mut self) -> Option<Bytes> {
        while !self.ended {
            if let Some(line) = self.line() {
                return Some(line);
            }
            let frame = self.body.frame().now_or_never()?;
            self.take(frame);
        }
        self.line()
    }

    fn take(&mut self, frame: Option<Result<http_body::Frame<Bytes>, B::Error>>) {
        match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.rest = data;
                }
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "watch broke off");
                self.ended = true;
            }
            None => self.ended = true,
        }
        if self.begun.len() > LINE_LIMIT {
            tracing::warn!(limit = LINE_LIMIT, "watch broke off at a line that is too long");
            self.ended = true;
        }
    }

    /// Cuts a line off what came.
    fn line(&mut self) -> Option<Bytes> {
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
            self.begun.extend_from_slice(&self.rest);
            self.rest.clear();
            return None;
        };
        let line = self.rest.split_to(end);
        self.rest.advance(1);
        if self.begun.is_empty() {
            return Some(line);
        }
        self.begun.extend_from_slice(&line);
        Some(self.begun.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    type Pieces = futures::stream::Iter<std::vec::IntoIter<Result<http_body::Frame<Bytes>, std::io::Error>>>;

    fn lines(pieces: &[&'static str]) -> Lines<StreamBody<Pieces>> {
        let frames =
            pieces.iter().map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(*piece))));
        let body = StreamBody::new(futures::stream::iter(frames.collect::<Vec<_>>()));
        Lines { body, rest: Bytes::new(), begun: BytesMut::new(), ended: false }
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        for pieces in [
            &["one\ntwo\nthree\n"][..],
            &["o", "ne\ntw", "o\n", "three", "\n"],
            &["one\n", "two\nthree\nhalf"],
        ] {
            let mut lines = lines(pieces);
            for wanted in ["one", "two", "three"] {
                assert_eq!(lines.next().await.unwrap(), wanted, "{pieces:?}");
            }
            assert!(lines.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn what_has_come_is_taken_without_waiting() {
        let mut lines = lines(&["one\ntw", "o\n"]);
        assert_eq!(lines.ready().unwrap(), "one");
        assert_eq!(lines.ready().unwrap(), "two");
        assert!(lines.ready().is_none());
        assert!(lines.next().await.is_none());
    }
}
