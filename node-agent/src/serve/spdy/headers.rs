//! SPDY/3 header blocks: names and values behind one zlib stream a direction, primed with a fixed dictionary.
//!
//! Promise: what one side packs the other unpacks, block after block; a block that would unpack to more than
//! `BLOCK_BYTES` is refused. Source: SPDY protocol draft 3.1, section 2.6.10.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::SpdyError;

/// Limit of one unpacked header block. Real ones have a few hundred bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// Words that stand in the dictionary behind their length (4 bytes, big endian).
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host \
    if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards \
    pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding \
    upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public \
    set-cookie keep-alive origin";

/// Text that follows the words as it is.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// Names and values in the order they were sent. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Packs the blocks of one direction.
#[derive(Debug)]
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Result<Self, SpdyError> {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(&dictionary()).map_err(|_| SpdyError::HeaderBlock)?;
        Ok(Self(zlib))
    }

    pub(super) fn pack(&mut self, headers: &Headers) -> Result<Vec<u8>, SpdyError> {
        let mut plain = Vec::new();
        plain.extend_from_slice(&(headers.0.len() as u32).to_be_bytes());
        for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut packed = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let taken = (self.0.total_in() - start) as usize;
            self.0
                .compress_vec(&plain[taken..], &mut packed, FlushCompress::Sync)
                .map_err(|_| SpdyError::HeaderBlock)?;
            // Room left over means that everything, the sync marker included, was written.
            if packed.len() < packed.capacity() {
                return Ok(packed);
            }
            packed.reserve(256);
        }
    }
}

/// Unpacks the blocks of one direction.
#[derive(Debug)]
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn unpack(&mut self, packed: &[u8]) -> Result<Headers, SpdyError> {
        let plain = self.inflate(packed)?;
        let mut rest = &plain[..];
        let count = take_number(&mut rest)?;
        let mut headers = Headers::default();
        for _ in 0..count {
            let (name, value) = (take_text(&mut rest)?, take_text(&mut rest)?);
            headers.0.push((name, value));
        }
        Ok(headers)
    }

    fn inflate(&mut self, packed: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut plain = Vec::with_capacity(1024);
        let start = self.0.total_in();
        loop {
            let taken = (self.0.total_in() - start) as usize;
            let before = (self.0.total_in(), self.0.total_out());
            match self.0.decompress_vec(&packed[taken..], &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| SpdyError::HeaderBlock)?;
                    continue;
                }
                Err(_) => return Err(SpdyError::HeaderBlock),
            }
            let all_taken = (self.0.total_in() - start) as usize == packed.len();
            if all_taken && plain.len() < plain.capacity() {
                return Ok(plain);
            }
            if plain.len() > BLOCK_BYTES || before == (self.0.total_in(), self.0.total_out()) && !all_taken {
                return Err(SpdyError::HeaderBlock);
            }
            plain.reserve(1024);
        }
    }
}

fn take_number(rest: &mut &[u8]) -> Result<u32, SpdyError> {
    let (number, tail) = rest.split_first_chunk::<4>().ok_or(SpdyError::HeaderBlock)?;
    *rest = tail;
    Ok(u32::from_be_bytes(*number))
}

fn take_text(rest: &mut &[u8]) -> Result<String, SpdyError> {
    let length = take_number(rest)? as usize;
    let (text, tail) = rest.split_at_checked(length).ok_or(SpdyError::HeaderBlock)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).map_err(|_| SpdyError::HeaderBlock)
}

fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS.split_ascii_whitespace() {
        dictionary.extend_from_slice(&(word.len() as u32).to_be_bytes());
        dictionary.extend_from_slice(word.replace('_', " ").as_bytes());
    }
    dictionary.extend_from_slice(TEXT.as_bytes());
    dictionary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionary_has_the_checksum_of_the_draft() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((dictionary().len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_of_one_direction_share_a_stream() {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new());
        let mut sizes = vec![];
        for id in 0..40 {
            let headers = Headers::default()
                .with("StreamType", "data")
                .with("port", "8080")
                .with("requestid", &format!("{id}"))
                .with("long", &"x".repeat(id * 100));
            let packed = packer.pack(&headers).unwrap();
            sizes.push(packed.len());
            let got = unpacker.unpack(&packed).unwrap();
            assert_eq!(got, headers);
            assert_eq!(got.get("streamtype"), Some("data"));
        }
        assert!(sizes[1] < sizes[0], "the second block profits from the first: {sizes:?}");
    }

    #[test]
    fn broken_blocks_are_refused() {
        assert!(Unpacker::new().unpack(&[1, 2, 3]).is_err());
        let mut packer = Packer::new().unwrap();
        let huge = packer.pack(&Headers::default().with("a", &"b".repeat(BLOCK_BYTES * 2))).unwrap();
        assert!(Unpacker::new().unpack(&huge).is_err());
    }
}
