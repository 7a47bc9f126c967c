//! The entries of a log: what the runtime writes, and what of it a caller wants.
//!
//! Promise: pure. Lines of `<time> stdout|stderr F|P <text>` (the CRI's format) come out as the container wrote them,
//! however the file was cut while reading; the tail of a log that nobody follows has no more lines than asked for.

use jiff::{SignedDuration, Timestamp};

use crate::serve::query::Query;

/// Longest single entry; the runtime cuts at 16 KiB.
const ENTRY_BYTES: usize = 1 << 20;

/// What the caller wants of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) follow: bool,
    timestamps: bool,
    pub(super) tail_lines: Option<u64>,
    since: Option<Timestamp>,
    limit_bytes: Option<u64>,
    /// `stdout` or `stderr`; both without.
    stream: Option<String>,
}

impl Wanted {
    pub(super) fn parse(query: &Query, now: Timestamp) -> Result<Self, String> {
        let positive = |name: &str| match query.number(name)? {
            Some(number) if number < 0 => Err(format!("{name} must be greater than or equal to 0")),
            number => Ok(number.map(|number| number as u64)),
        };
        let since = match (query.get("sinceTime"), query.number("sinceSeconds")?) {
            (Some(time), _) if !time.is_empty() => {
                Some(time.parse().map_err(|_| format!("Invalid value for sinceTime: \"{time}\""))?)
            }
            (_, Some(seconds)) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
            _ => None,
        };
        let stream = query.get("stream").filter(|stream| !stream.is_empty() && *stream != "All");
        Ok(Self {
            follow: query.is("follow"),
            timestamps: query.is("timestamps"),
            tail_lines: positive("tailLines")?,
            since,
            limit_bytes: positive("limitBytes")?,
            stream: stream.map(str::to_ascii_lowercase),
        })
    }
}

/// Turns the bytes of a log file into what the caller wants.
#[derive(Debug)]
pub(super) struct Filter {
    wanted: Wanted,
    /// Bytes that may still come out.
    left: Option<u64>,
    /// Entries of the tail that may still come out: a container goes on writing while its log is read.
    entries_left: Option<u64>,
    /// The beginning of an entry whose end has not been read.
    pending: Vec<u8>,
    line_start: bool,
}

impl Filter {
    pub(super) fn new(wanted: Wanted) -> Self {
        let entries_left = wanted.tail_lines.filter(|_| !wanted.follow);
        Self { left: wanted.limit_bytes, wanted, entries_left, pending: Vec::new(), line_start: true }
    }

    /// Whether nothing more will come out.
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0) || self.entries_left == Some(0)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut out = Vec::with_capacity(pending.len());
        let mut rest = &pending[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, tail) = rest.split_at(end + 1);
            rest = tail;
            if let Some(entry) = Entry::parse(line) {
                self.add(&entry, &mut out);
            }
        }
        if rest.len() < ENTRY_BYTES {
            self.pending = rest.to_vec();
        }
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        out
    }

    fn add(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        match &mut self.entries_left {
            Some(0) => return,
            Some(entries) => *entries -= 1,
            None => {}
        }
        if self.wanted.stream.as_ref().is_some_and(|stream| stream.as_bytes() != entry.stream) {
            return;
        }
        if let Some(since) = self.wanted.since {
            let at = std::str::from_utf8(entry.time).ok().and_then(|text| text.parse::<Timestamp>().ok());
            if at.is_some_and(|at| at < since) {
                return;
            }
        }
        if self.wanted.timestamps && self.line_start {
            out.extend_from_slice(entry.time);
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        if entry.complete {
            out.push(b'\n');
        }
        self.line_start = entry.complete;
    }
}

/// One entry of a log file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    time: &'a [u8],
    stream: &'a [u8],
    /// False: the line goes on in the next entry.
    pub(super) complete: bool,
    pub(super) text: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            time,
            stream,
            complete: tag.split(|byte| *byte == b':').next() != Some(b"P"),
            text: parts.next().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.5Z stdout F one\n2026-01-01T00:00:01Z stderr P two \n\
                       2026-01-01T00:00:01Z stderr F half\n2026-01-01T00:00:02Z stdout F three\n";

    fn filtered(wanted: Wanted, log: &str) -> String {
        let mut filter = Filter::new(wanted);
        // In pieces: entries may be cut anywhere.
        let out: Vec<u8> = log.as_bytes().chunks(7).flat_map(|chunk| filter.take(chunk)).collect();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn entries_come_out_as_they_were_written() {
        assert_eq!(filtered(Wanted::default(), LOG), "one\ntwo half\nthree\n");
        let timestamps = Wanted { timestamps: true, ..Default::default() };
        assert_eq!(
            filtered(timestamps, LOG),
            "2026-01-01T00:00:00.5Z one\n2026-01-01T00:00:01Z two half\n2026-01-01T00:00:02Z three\n"
        );
        let stderr = Wanted { stream: Some("stderr".into()), ..Default::default() };
        assert_eq!(filtered(stderr, LOG), "two half\n");
        let since = Wanted { since: Some("2026-01-01T00:00:01Z".parse().unwrap()), ..Default::default() };
        assert_eq!(filtered(since, LOG), "two half\nthree\n");
        assert_eq!(filtered(Wanted { limit_bytes: Some(5), ..Default::default() }, LOG), "one\nt");
        // What is written after the tail was found belongs to those who follow.
        let tail = |follow| Wanted { tail_lines: Some(1), follow, ..Default::default() };
        assert_eq!(filtered(tail(false), LOG), "one\n");
        assert_eq!(filtered(tail(true), LOG), "one\ntwo half\nthree\n");
    }
}
