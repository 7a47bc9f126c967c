//! The kernel's connection tracking table over netlink: read the flows of a protocol, delete some.
//!
//! Promise: a flow is deleted by its tuple and its id together, so that a new flow of the same tuple is never hit
//! (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`). Which flows are stale is decided elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;
use nix::libc;

use super::message::{Batch, Message, Writer, attributes, find};
use super::socket::{DUMP, Error, Socket};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_V4_SOURCE: u16 = 1;
const IP_V4_DESTINATION: u16 = 2;
const IP_V6_SOURCE: u16 = 3;
const IP_V6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_SOURCE_PORT: u16 = 2;
const PROTOCOL_DESTINATION_PORT: u16 = 3;

/// Size of the netfilter header: family, version, resource.
const HEADER_BYTES: usize = 4;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Who sends.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// 0 for a protocol without ports.
    pub source_port: u16,
    /// 0 for a protocol without ports.
    pub destination_port: u16,
}

/// A flow as the kernel tracks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// As the client sent it, before any translation.
    pub original: Tuple,
    /// As the answers come, so its source is the endpoint.
    pub reply: Tuple,
    /// Tells flows of the same tuple apart.
    pub id: u32,
    /// The zone; 0 but for special set-ups.
    pub zone: u16,
    /// `IPS_*`.
    pub status: u32,
}

/// `IPS_SRC_NAT` and `IPS_DST_NAT`: netfilter translates an end of the flow.
pub const SOURCE_TRANSLATED: u32 = 1 << 4;
pub const DESTINATION_TRANSLATED: u32 = 1 << 5;

impl Flow {
    /// Whether IPVS leads it. It translates on its own and only tells conntrack where the answers come from or go to.
    #[must_use]
    pub fn is_led_by_ipvs(&self) -> bool {
        let (original, reply) = (&self.original, &self.reply);
        let to = (original.destination, original.destination_port) != (reply.source, reply.source_port);
        // An answer that found no flow made this one, the other way round.
        let from = (original.source, original.source_port) != (reply.destination, reply.destination_port);
        (to && self.status & DESTINATION_TRANSLATED == 0) || (from && self.status & SOURCE_TRANSLATED == 0)
    }
}

/// All flows of protocol `protocol`, of IPv6 or of IPv4.
pub fn flows(socket: &mut Socket, v6: bool, protocol: u8) -> Result<Vec<Flow>, Error> {
    socket.dump(
        |batch| batch.message(GET, DUMP, |body| header(body, v6)),
        |rows, message| rows.extend(read(&message).filter(|flow| flow.original.protocol == protocol)),
    )
}

/// Deletes flows; one that is gone by itself meanwhile is no error. Gives how many were deleted.
pub fn delete(socket: &mut Socket, flows: &[Flow]) -> Result<usize, Error> {
    let mut batch = Batch::new();
    for flow in flows {
        write_delete(&mut batch, flow);
    }
    if batch.is_empty() {
        return Ok(0);
    }
    let failures = socket.execute(&mut batch)?;
    let gone = failures.len();
    match failures.into_iter().find(|failure| failure.errno != Errno::ENOENT) {
        Some(failure) => Err(Error::Refused(failure)),
        None => Ok(flows.len() - gone),
    }
}

fn header(body: &mut Writer<'_>, v6: bool) {
    body.raw(&[if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8, 0, 0, 0]);
}

fn write_delete(batch: &mut Batch, flow: &Flow) {
    batch.message(DELETE, 0, |body| {
        header(body, flow.original.source.is_ipv6());
        body.nested(TUPLE_ORIGINAL, |list| write_tuple(list, &flow.original));
        body.be32(ID, flow.id);
        if flow.zone != 0 {
            body.be16(ZONE, flow.zone);
        }
    });
}

fn write_tuple(list: &mut Writer<'_>, tuple: &Tuple) {
    list.nested(TUPLE_IP, |ip| match (tuple.source, tuple.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ip.attribute(IP_V4_SOURCE, &source.octets());
            ip.attribute(IP_V4_DESTINATION, &destination.octets());
        }
        (source, destination) => {
            ip.attribute(IP_V6_SOURCE, &v6(source).octets());
            ip.attribute(IP_V6_DESTINATION, &v6(destination).octets());
        }
    });
    list.nested(TUPLE_PROTOCOL, |protocol| {
        protocol.u8(PROTOCOL_NUMBER, tuple.protocol);
        protocol.be16(PROTOCOL_SOURCE_PORT, tuple.source_port);
        protocol.be16(PROTOCOL_DESTINATION_PORT, tuple.destination_port);
    });
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn read(message: &Message<'_>) -> Option<Flow> {
    let body = message.payload.get(HEADER_BYTES..)?;
    Some(Flow {
        original: read_tuple(find(body, TUPLE_ORIGINAL)?.value)?,
        reply: read_tuple(find(body, TUPLE_REPLY)?.value)?,
        id: find(body, ID)?.be32()?,
        zone: find(body, ZONE).and_then(|zone| zone.be16()).unwrap_or(0),
        status: find(body, STATUS).and_then(|status| status.be32()).unwrap_or(0),
    })
}

fn read_tuple(list: &[u8]) -> Option<Tuple> {
    let (mut source, mut destination) = (None, None);
    for attribute in attributes(find(list, TUPLE_IP)?.value) {
        match attribute.kind {
            IP_V4_SOURCE => source = read_v4(attribute.value),
            IP_V4_DESTINATION => destination = read_v4(attribute.value),
            IP_V6_SOURCE => source = read_v6(attribute.value),
            IP_V6_DESTINATION => destination = read_v6(attribute.value),
            _ => {}
        }
    }
    let protocol = find(list, TUPLE_PROTOCOL)?.value;
    let port = |kind| find(protocol, kind).and_then(|port| port.be16()).unwrap_or(0);
    Some(Tuple {
        source: source?,
        destination: destination?,
        protocol: find(protocol, PROTOCOL_NUMBER)?.u8()?,
        source_port: port(PROTOCOL_SOURCE_PORT),
        destination_port: port(PROTOCOL_DESTINATION_PORT),
    })
}

fn read_v4(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into())
}

fn read_v6(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::*;

    fn flow(client: &str, service: &str, endpoint: &str) -> Flow {
        let tuple = |source: &str, destination: &str, source_port, destination_port| Tuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 17,
            source_port,
            destination_port,
        };
        Flow {
            original: tuple(client, service, 4000, 53),
            reply: tuple(endpoint, client, 5353, 4000),
            id: 0xdead_beef,
            zone: 0,
            status: 0,
        }
    }

    #[test]
    fn flows_of_ipvs_are_known_by_what_netfilter_did_not_do() {
        let service = flow("10.0.0.1", "10.96.0.10", "10.244.0.7");
        assert!(service.is_led_by_ipvs());
        let masqueraded = Flow { status: SOURCE_TRANSLATED, ..service };
        assert!(masqueraded.is_led_by_ipvs());
        assert!(!Flow { status: DESTINATION_TRANSLATED, ..service }.is_led_by_ipvs());
        let turned = Flow { original: service.reply, reply: service.original, ..service };
        assert!(turned.is_led_by_ipvs());
        let mut plain = flow("10.0.0.1", "10.244.0.7", "10.244.0.7");
        plain.reply.source_port = plain.original.destination_port;
        assert!(!plain.is_led_by_ipvs());
    }

    #[test]
    fn a_delete_names_tuple_and_id() {
        let mut batch = Batch::new();
        write_delete(&mut batch, &flow("10.244.0.5", "10.96.0.10", "10.244.0.9"));
        #[rustfmt::skip]
        let expected: Vec<u8> = vec![
            80, 0, 0, 0, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
            52, 0, 1, 0x80,
            20, 0, 1, 0x80, 8, 0, 1, 0, 10, 244, 0, 5, 8, 0, 2, 0, 10, 96, 0, 10,
            28, 0, 2, 0x80, 5, 0, 1, 0, 17, 0, 0, 0, 6, 0, 2, 0, 0x0f, 0xa0, 0, 0, 6, 0, 3, 0, 0, 53, 0, 0,
            8, 0, 12, 0, 0xde, 0xad, 0xbe, 0xef,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(batch.bytes(), expected);
        }
    }

    #[test]
    fn a_row_is_read() {
        for flow in
            [flow("10.244.0.5", "10.96.0.10", "10.244.0.9"), flow("fd00:1::5", "fd00:2::a", "fd00:1::9")]
        {
            let mut batch = Batch::new();
            batch.message(SUBSYSTEM, 0, |body| {
                header(body, false);
                body.nested(TUPLE_ORIGINAL, |list| write_tuple(list, &flow.original));
                body.nested(TUPLE_REPLY, |list| write_tuple(list, &flow.reply));
                body.be32(ID, flow.id);
            });
            assert_eq!(read(&messages(batch.bytes()).next().unwrap()), Some(flow));
        }
    }
}
