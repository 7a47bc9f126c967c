//! Netlink messages and attributes: written into one buffer, read without copying.
//!
//! Promise: what is written is aligned and its lengths are right, so that many messages can go to the kernel in one
//! send; what is read never looks beyond the bytes received, whatever their length fields say (RFC 3549,
//! `Documentation/userspace-api/netlink/intro.rst`).

/// Size of the header of each message.
pub const HEADER_BYTES: usize = 16;

/// Set in an attribute's type when its value is a list of attributes.
const NESTED: u16 = 0x8000;

/// The bits of an attribute's type that are the type: the upper two say how the value is stored.
const KIND_MASK: u16 = 0x3fff;

/// Size of the header of each attribute.
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// Messages that go to the kernel together. Sequence numbers are given by the socket.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    /// No messages yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Appends one message. `flags` are `NLM_F_*` flags; `NLM_F_REQUEST` is always set.
    pub fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(&[0; HEADER_BYTES]);
        body(&mut Writer { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).expect("a message is far below 4 GiB");
        let flags = flags | nix::libc::NLM_F_REQUEST as u16;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 4..start + 6].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
    }

    /// Forgets the messages; their room is used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether it holds no message.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// All messages, as they are sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of messages `first..last`.
    pub(super) fn range(&self, first: usize, last: usize) -> &[u8] {
        let end = self.starts.get(last).copied().unwrap_or(self.bytes.len());
        &self.bytes[self.starts[first]..end]
    }

    /// The size of messages `first..last` in bytes.
    pub(super) fn range_bytes(&self, first: usize, last: usize) -> usize {
        self.range(first, last).len()
    }

    /// Numbers the messages from `first` on.
    pub(super) fn number(&mut self, first: u32) {
        for (index, start) in self.starts.iter().enumerate() {
            let number = first.wrapping_add(index as u32);
            self.bytes[start + 8..start + 12].copy_from_slice(&number.to_ne_bytes());
        }
    }

    /// Adds flags to message `index`.
    pub(super) fn add_flags(&mut self, index: usize, flags: u16) {
        let at = self.starts[index] + 6;
        let before = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(before | flags).to_ne_bytes());
    }
}

/// Writes the body of one message or of one nested attribute.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// Bytes as they are (a protocol's fixed header), padded to four.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// One attribute with a plain value.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length =
            u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).expect("an attribute is below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// A byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.attribute(kind, &[value]);
    }

    /// Two bytes in the machine's order.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// Four bytes in the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// Two bytes in network order.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Four bytes in network order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Eight bytes in network order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Text with the zero byte at its end that the kernel wants.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// A list of attributes. Below 64 KiB: who writes long lists splits them (see `room`).
    pub fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ATTRIBUTE_HEADER_BYTES]);
        body(&mut Writer { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).expect("a nested attribute is below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
    }

    /// How many bytes the whole batch holds by now; the difference of two calls is the size of what came between.
    pub fn position(&self) -> usize {
        self.bytes.len()
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message from the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The number of the request it answers.
    pub number: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of one receive.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(0..4)?.try_into().ok()?) as usize;
        let whole = rest.get(..length).filter(|_| length >= HEADER_BYTES)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([whole[4], whole[5]]),
            flags: u16::from_ne_bytes([whole[6], whole[7]]),
            number: u32::from_ne_bytes([whole[8], whole[9], whole[10], whole[11]]),
            payload: &whole[HEADER_BYTES..],
        })
    })
}

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    /// Its type without the two storage bits.
    pub kind: u16,
    /// Its value; `attributes` reads it when it is a list.
    pub value: &'a [u8],
}

impl Attribute<'_> {
    /// A byte.
    pub fn u8(&self) -> Option<u8> {
        self.value.first().copied()
    }

    /// Two bytes in the machine's order.
    pub fn u16(&self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.value.get(..2)?.try_into().ok()?))
    }

    /// Four bytes in the machine's order.
    pub fn u32(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.value.get(..4)?.try_into().ok()?))
    }

    /// Two bytes in network order.
    pub fn be16(&self) -> Option<u16> {
        Some(u16::from_be_bytes(self.value.get(..2)?.try_into().ok()?))
    }

    /// Four bytes in network order.
    pub fn be32(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.get(..4)?.try_into().ok()?))
    }

    /// Eight bytes in network order.
    pub fn be64(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.value.get(..8)?.try_into().ok()?))
    }

    /// Text up to its zero byte.
    pub fn text(&self) -> Option<&str> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).ok()
    }
}

/// The attributes in `bytes`.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: kind & KIND_MASK, value })
    })
}

/// The value of the first attribute of type `kind`.
pub fn find(bytes: &[u8], kind: u16) -> Option<Attribute<'_>> {
    attributes(bytes).find(|attribute| attribute.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        let mut batch = Batch::new();
        batch.message(0x10, 0x4, |body| {
            body.raw(&[3, 1, 0]);
            body.text(2, "IPVS");
            body.nested(5, |list| {
                list.be16(1, 80);
                list.u32(2, 7);
            });
        });
        batch.message(0x11, 0, |body| body.u8(9, 0xaa));
        batch
    }

    #[test]
    fn bytes_are_those_of_the_protocol() {
        let mut batch = sample();
        batch.number(9);
        #[rustfmt::skip]
        let expected: Vec<u8> = vec![
            52, 0, 0, 0, 0x10, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0,
            3, 1, 0, 0,
            9, 0, 2, 0, b'I', b'P', b'V', b'S', 0, 0, 0, 0,
            20, 0, 5, 0x80, 6, 0, 1, 0, 0, 80, 0, 0, 8, 0, 2, 0, 7, 0, 0, 0,
            24, 0, 0, 0, 0x11, 0, 1, 0, 10, 0, 0, 0, 0, 0, 0, 0,
            5, 0, 9, 0, 0xaa, 0, 0, 0,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(batch.bytes(), expected);
        }
        assert_eq!(batch.range(1, 2).len(), 24);
    }

    #[test]
    fn what_was_written_is_read() {
        let mut batch = sample();
        batch.number(1);
        let read: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!(
            read.iter().map(|message| (message.kind, message.number)).collect::<Vec<_>>(),
            [(16, 1), (17, 2)]
        );
        let body = &read[0].payload[4..];
        assert_eq!(find(body, 2).unwrap().text(), Some("IPVS"));
        let list = find(body, 5).unwrap().value;
        assert_eq!((find(list, 1).unwrap().be16(), find(list, 2).unwrap().u32()), (Some(80), Some(7)));
    }

    #[test]
    fn wrong_lengths_end_the_reading() {
        assert_eq!(messages(&[0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(messages(&[4, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attributes(&[5, 0, 1, 0, 5]).next().unwrap().u8(), Some(5));
        assert_eq!(attributes(&[5, 0, 1, 0, 5]).next().unwrap().u16(), None);
    }
}
