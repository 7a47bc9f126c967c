//! Messages as bytes: what of a datagram is a question, and how an answer fits into one.
//!
//! Promise: pure. A reply is never longer than the asker takes (RFC 1035 4.2.1, RFC 6891 6.2.3): addresses of targets
//! are left out first, then answers, which the TC bit says. A message that is no question is refused or, if it may be
//! a reply, not answered at all, so that two servers cannot keep each other busy.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};

/// Bytes of a UDP reply to an asker who names no size.
const PLAIN_BYTES: usize = 512;

/// Bytes of a UDP reply at most, which pass every network in one piece (DNS flag day 2020).
pub(super) const UDP_BYTES: u16 = 1232;

/// Bytes of a reply over TCP at most: its length is told in 16 bits.
const TCP_BYTES: usize = 65_535;

/// Bytes of a header.
const HEADER: usize = 12;

/// What came in.
#[derive(Debug)]
pub(super) enum Received {
    /// One question of class IN.
    Question(Message),
    /// Something that is answered without looking anything up.
    Refused(Message),
    /// Nothing that is answered.
    Noise,
}

/// Reads a message.
pub(super) fn read(bytes: &[u8]) -> Received {
    let request = match Message::from_vec(bytes) {
        Ok(request) => request,
        Err(_) => return malformed(bytes),
    };
    if request.metadata.message_type == MessageType::Response {
        return Received::Noise;
    }
    match verdict(&request) {
        None => Received::Question(request),
        Some(code) => {
            let mut reply = reply_to(&request);
            reply.metadata.response_code = code;
            Received::Refused(reply)
        }
    }
}

/// An empty reply with the header and question of a request.
pub(super) fn reply_to(request: &Message) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.checking_disabled = request.metadata.checking_disabled;
    reply.queries.clone_from(&request.queries);
    if let Some(edns) = &request.edns {
        let mut own = Edns::new();
        own.set_max_payload(UDP_BYTES).set_dnssec_ok(edns.flags().dnssec_ok);
        reply.set_edns(own);
    }
    reply
}

/// Bytes that a reply over UDP may have.
pub(super) fn udp_limit(request: &Message) -> usize {
    let asked = request.edns.as_ref().map_or(PLAIN_BYTES, |edns| usize::from(edns.max_payload()));
    asked.clamp(PLAIN_BYTES, usize::from(UDP_BYTES))
}

/// Bytes that a reply over TCP may have.
pub(super) const fn tcp_limit() -> usize {
    TCP_BYTES
}

/// The bytes of a reply, cut to a limit.
pub(super) fn write(mut reply: Message, limit: usize) -> Vec<u8> {
    spread(&mut reply);
    if let Some(bytes) = fitting(&reply, limit) {
        return bytes;
    }
    reply.additionals.clear();
    if let Some(bytes) = fitting(&reply, limit) {
        return bytes;
    }
    reply.metadata.truncation = true;
    reply.authorities.clear();
    let answers = std::mem::take(&mut reply.answers);
    let (mut fits, mut most) = (0, answers.len());
    while fits < most {
        let middle = fits + (most - fits).div_ceil(2);
        reply.answers = answers[..middle].to_vec();
        if fitting(&reply, limit).is_some() { fits = middle } else { most = middle - 1 }
    }
    reply.answers = answers[..fits].to_vec();
    fitting(&reply, limit).unwrap_or_default()
}

/// Why a request is not looked up.
fn verdict(request: &Message) -> Option<ResponseCode> {
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    if request.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    let [question] = request.queries.as_slice() else { return Some(ResponseCode::FormErr) };
    let transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
    (transfer || question.query_class() != DNSClass::IN).then_some(ResponseCode::Refused)
}

/// The answer to what cannot be read: nothing to a reply or to less than a header.
fn malformed(bytes: &[u8]) -> Received {
    let Some(header) = bytes.get(..HEADER) else { return Received::Noise };
    if header[2] & 0x80 != 0 {
        return Received::Noise;
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let code = OpCode::from_u8(header[2] >> 3 & 0xf);
    let mut reply = Message::error_msg(id, code, ResponseCode::FormErr);
    reply.metadata.recursion_desired = header[2] & 1 != 0;
    Received::Refused(reply)
}

/// Lets another address be the first each time; most clients take the first.
fn spread(reply: &mut Message) {
    let answers = &mut reply.answers;
    let same = |kind| answers.iter().all(|record| record.record_type() == kind);
    if answers.len() > 1 && (same(RecordType::A) || same(RecordType::AAAA)) {
        let by = usize::from(reply.metadata.id) % answers.len();
        answers.rotate_left(by);
    }
}

fn fitting(reply: &Message, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PLAIN_BYTES);
    let mut encoder = BinEncoder::new(&mut bytes);
    reply.emit(&mut encoder).ok()?;
    (bytes.len() <= limit).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record};

    use super::*;

    fn request() -> Message {
        let mut request = Message::new(7, MessageType::Query, OpCode::Query);
        request.add_query(Query::query(Name::from_ascii("Web.n.svc.cluster.local.").unwrap(), RecordType::A));
        request
    }

    fn with_answers(request: &Message, count: u8) -> Message {
        let mut reply = reply_to(request);
        let owner = request.queries[0].name();
        reply.answers = (0..count)
            .map(|last| Record::from_rdata(owner.clone(), 5, RData::A(A::new(10, 0, 0, last))))
            .collect();
        reply
    }

    fn code(bytes: &[u8]) -> String {
        match read(bytes) {
            Received::Question(_) => "question".to_owned(),
            Received::Refused(reply) => format!("{:?}", reply.metadata.response_code),
            Received::Noise => "noise".to_owned(),
        }
    }

    fn changed(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut request = request();
        change(&mut request);
        request.to_vec().unwrap()
    }

    #[test]
    fn what_is_no_question_is_told_apart() {
        assert_eq!(code(&changed(|_| ())), "question");
        assert_eq!(code(&changed(|m| m.metadata.message_type = MessageType::Response)), "noise");
        assert_eq!(code(&changed(|m| m.metadata.op_code = OpCode::Update)), "NotImp");
        assert_eq!(code(&changed(|m| m.queries.clear())), "FormErr");
        let twice = |m: &mut Message| m.queries.push(m.queries[0].clone());
        assert_eq!(code(&changed(twice)), "FormErr");
        let chaos = |m: &mut Message| _ = m.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(code(&changed(chaos)), "Refused");
        let transfer = |m: &mut Message| _ = m.queries[0].set_query_type(RecordType::AXFR);
        assert_eq!(code(&changed(transfer)), "Refused");
        let version = |m: &mut Message| {
            let mut edns = Edns::new();
            edns.set_version(1);
            m.set_edns(edns);
        };
        assert_eq!(code(&changed(version)), "BADVERS");
        let cut = &changed(|_| ())[..20];
        assert_eq!(code(cut), "FormErr");
        assert_eq!(code(&cut[..11]), "noise");
    }

    #[test]
    fn the_case_of_the_question_comes_back() {
        let bytes = write(with_answers(&request(), 1), PLAIN_BYTES);
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(reply.queries[0].name().eq_case(request().queries[0].name()));
        assert!(reply.answers[0].name.eq_case(request().queries[0].name()));
    }

    #[test]
    fn a_long_reply_is_cut_to_what_the_asker_takes() {
        let mut request = request();
        let plain = write(with_answers(&request, 100), udp_limit(&request));
        let reply = Message::from_vec(&plain).unwrap();
        assert!(plain.len() <= 512 && reply.metadata.truncation, "{} bytes", plain.len());
        assert_eq!(reply.answers.len(), (512 - 12 - 29) / 16);

        request.set_edns(Edns::new());
        request.edns.as_mut().unwrap().set_max_payload(4096);
        let large = write(with_answers(&request, 100), udp_limit(&request));
        let reply = Message::from_vec(&large).unwrap();
        assert!(large.len() <= usize::from(UDP_BYTES) && reply.metadata.truncation && reply.edns.is_some());

        let whole = write(with_answers(&request, 100), tcp_limit());
        let reply = Message::from_vec(&whole).unwrap();
        assert!(reply.answers.len() == 100 && !reply.metadata.truncation);
    }

    #[test]
    fn addresses_of_targets_go_before_answers() {
        let request = request();
        let mut reply = with_answers(&request, 20);
        reply.additionals = with_answers(&request, 40).answers;
        let read = Message::from_vec(&write(reply, PLAIN_BYTES)).unwrap();
        assert_eq!((read.answers.len(), read.additionals.len(), read.metadata.truncation), (20, 0, false));
    }

    #[test]
    fn another_address_is_first_each_time() {
        let mut first = std::collections::BTreeSet::new();
        for id in 0..3 {
            let mut request = request();
            request.metadata.id = id;
            let reply = Message::from_vec(&write(with_answers(&request, 3), PLAIN_BYTES)).unwrap();
            first.insert(reply.answers[0].data.to_string());
        }
        assert_eq!(first.len(), 3);
    }
}
