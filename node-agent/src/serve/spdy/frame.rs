//! SPDY/3.1 frames on the wire.
//!
//! Promise: `read` gives the next frame that matters to us and skips the others; `write` is its inverse. A frame
//! longer than `FRAME_BYTES` is refused. Source: SPDY protocol draft 3.1, section 2.2 and 2.6.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::SpdyError;
use super::headers::{Headers, Packer, Unpacker};

/// Limit of one frame. Peers write at most 32 KiB at once.
const FRAME_BYTES: usize = 4 << 20;

/// Set in the first byte of control frames, with the protocol's version behind it.
const CONTROL: u16 = 0x8003;

const FLAG_FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

/// What the peers tell each other. Settings, header and window frames carry nothing that we act on (the peers in
/// this ecosystem do no flow control).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream; `last`: the sender will send no data on it.
    Open {
        stream: u32,
        headers: Headers,
        last: bool,
    },
    Accept {
        stream: u32,
    },
    Reset {
        stream: u32,
    },
    Data {
        stream: u32,
        bytes: Bytes,
        last: bool,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last_stream: u32,
    },
}

/// The next frame; `None` at the end of the connection.
pub(super) async fn read(
    io: &mut (impl AsyncRead + Unpin),
    unpacker: &mut Unpacker,
) -> Result<Option<Frame>, SpdyError> {
    loop {
        let mut head = [0u8; 8];
        match io.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > FRAME_BYTES {
            return Err(SpdyError::TooLong(length));
        }
        let mut body = vec![0; length];
        io.read_exact(&mut body).await?;
        if let Some(frame) = decode(head, body, unpacker)? {
            return Ok(Some(frame));
        }
    }
}

fn decode(head: [u8; 8], body: Vec<u8>, unpacker: &mut Unpacker) -> Result<Option<Frame>, SpdyError> {
    let last = head[4] & FLAG_FIN != 0;
    if head[0] & 0x80 == 0 {
        let stream = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        return Ok(Some(Frame::Data { stream, bytes: body.into(), last }));
    }
    if u16::from_be_bytes([head[0], head[1]]) != CONTROL {
        return Err(SpdyError::Version);
    }
    let number =
        || body.first_chunk::<4>().map(|n| u32::from_be_bytes(*n) & 0x7fff_ffff).ok_or(SpdyError::Short);
    Ok(match u16::from_be_bytes([head[2], head[3]]) {
        SYN_STREAM => {
            // Id, associated stream, priority and slot (10 bytes) stand before the headers.
            let headers = unpacker.unpack(body.get(10..).ok_or(SpdyError::Short)?)?;
            Some(Frame::Open { stream: number()?, headers, last })
        }
        SYN_REPLY => {
            // Unpacked even though unused: the next block builds on it.
            unpacker.unpack(body.get(4..).ok_or(SpdyError::Short)?)?;
            Some(Frame::Accept { stream: number()? })
        }
        RST_STREAM => Some(Frame::Reset { stream: number()? }),
        PING => Some(Frame::Ping {
            id: body.first_chunk().map(|n| u32::from_be_bytes(*n)).ok_or(SpdyError::Short)?,
        }),
        GOAWAY => Some(Frame::GoAway { last_stream: number()? }),
        8 => {
            unpacker.unpack(body.get(4..).ok_or(SpdyError::Short)?)?;
            None
        }
        _ => None,
    })
}

/// The bytes of a frame.
pub(super) fn encode(frame: &Frame, packer: &mut Packer) -> Result<Vec<u8>, SpdyError> {
    Ok(match frame {
        Frame::Open { stream, headers, last } => {
            let mut body = stream.to_be_bytes().to_vec();
            body.extend_from_slice(&[0; 6]);
            body.extend_from_slice(&packer.pack(headers)?);
            control(SYN_STREAM, *last, &body)
        }
        Frame::Accept { stream } => {
            let mut body = stream.to_be_bytes().to_vec();
            body.extend_from_slice(&packer.pack(&Headers::default())?);
            control(SYN_REPLY, false, &body)
        }
        Frame::Reset { stream } => {
            const CANCEL: u32 = 5;
            control(RST_STREAM, false, &[stream.to_be_bytes(), CANCEL.to_be_bytes()].concat())
        }
        Frame::Data { stream, bytes, last } => {
            let mut out = Vec::with_capacity(8 + bytes.len());
            out.extend_from_slice(&stream.to_be_bytes());
            out.extend_from_slice(&flags_and_length(*last, bytes.len()));
            out.extend_from_slice(bytes);
            out
        }
        Frame::Ping { id } => control(PING, false, &id.to_be_bytes()),
        Frame::GoAway { last_stream } => {
            control(GOAWAY, false, &[last_stream.to_be_bytes(), 0u32.to_be_bytes()].concat())
        }
    })
}

fn control(kind: u16, last: bool, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + body.len());
    out.extend_from_slice(&CONTROL.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&flags_and_length(last, body.len()));
    out.extend_from_slice(body);
    out
}

fn flags_and_length(last: bool, length: usize) -> [u8; 4] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    [if last { FLAG_FIN } else { 0 }, a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_wire() {
        let frames = [
            Frame::Open { stream: 1, headers: Headers::default().with("streamtype", "error"), last: true },
            Frame::Accept { stream: 1 },
            Frame::Data { stream: 1, bytes: Bytes::from_static(b"hello"), last: false },
            Frame::Data { stream: 1, bytes: Bytes::new(), last: true },
            Frame::Ping { id: 7 },
            Frame::Reset { stream: 3 },
            Frame::GoAway { last_stream: 9 },
        ];
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new());
        let wire: Vec<u8> = frames.iter().flat_map(|frame| encode(frame, &mut packer).unwrap()).collect();
        let mut io = &wire[..];
        for frame in frames {
            assert_eq!(read(&mut io, &mut unpacker).await.unwrap(), Some(frame));
        }
        assert_eq!(read(&mut io, &mut unpacker).await.unwrap(), None);
    }

    #[tokio::test]
    async fn other_versions_and_short_frames_are_errors() {
        let mut unpacker = Unpacker::new();
        assert!(read(&mut &[0x80, 2, 0, 1, 0, 0, 0, 0][..], &mut unpacker).await.is_err());
        assert!(read(&mut &[0x80, 3, 0, 3, 0, 0, 0, 1, 0][..], &mut unpacker).await.is_err());
    }
}
