//! The kernel's ipset tables over netlink, for kernels without nf_tables: create, fill, swap, destroy.
//!
//! Promise: a pure codec (`include/uapi/linux/netfilter/ipset/ip_set.h`, protocol 7), apart from `index_of`, which
//! asks for the number by which a rule of the old kind refers to a set.

use std::net::IpAddr;

use nix::libc;

use super::message::{Batch, Writer, find};
use super::socket::{Error, Socket};

const SUBSYSTEM: u16 = 6 << 8;
const CREATE_SET: u16 = SUBSYSTEM | 2;
const DESTROY_SET: u16 = SUBSYSTEM | 3;
const SWAP: u16 = SUBSYSTEM | 6;
const ADD: u16 = SUBSYSTEM | 9;
const DELETE: u16 = SUBSYSTEM | 10;
const HEADER: u16 = SUBSYSTEM | 12;
const GET_BY_NAME: u16 = SUBSYSTEM | 14;

const PROTOCOL_VERSION: u8 = 7;
const ATTR_PROTOCOL: u16 = 1;
const ATTR_NAME: u16 = 2;
const ATTR_TYPE: u16 = 3;
const ATTR_SECOND_NAME: u16 = 3;
const ATTR_REVISION: u16 = 4;
const ATTR_FAMILY: u16 = 5;
const ATTR_DATA: u16 = 7;
const ATTR_ELEMENTS: u16 = 8;
const ATTR_LINE: u16 = 9;
const ATTR_INDEX: u16 = 11;
const DATA_IP: u16 = 1;
const DATA_CIDR: u16 = 3;
const DATA_PORT: u16 = 4;
const DATA_PROTOCOL: u16 = 7;
const DATA_HASH_SIZE: u16 = 18;
const DATA_MAX_ELEMENTS: u16 = 19;
const DATA_SECOND_IP: u16 = 20;
const DATA_SECOND_CIDR: u16 = 21;
const DATA_FLAGS: u16 = 8;
const DATA_MARK: u16 = 27;
/// Elements carry marks.
const WITH_MARKS: u32 = 1 << 6;
const IP_V4: u16 = 1;
const IP_V6: u16 = 2;

/// Says in an attribute's type that the value is in network order; ipset refuses numbers without it.
const NETWORK_ORDER: u16 = 0x4000;

/// Most elements of a set: far more than a cluster has addresses and ports.
const MAX_ELEMENTS: u32 = 1 << 20;

/// Most elements of one message: the largest come to some 90 bytes each, a list to less than 64 KiB.
pub const MAX_ADDED: usize = 500;

const HEADER_BYTES: usize = 4;

/// What a set's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Addresses.
    Ip,
    /// Networks.
    Net,
    /// Two networks.
    NetNet,
    /// Address and port.
    IpPort,
    /// Address, port, second address.
    IpPortIp,
    /// Address, port, network.
    IpPortNet,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ip => "hash:ip",
            Kind::Net => "hash:net",
            Kind::NetNet => "hash:net,net",
            Kind::IpPort => "hash:ip,port",
            Kind::IpPortIp => "hash:ip,port,ip",
            Kind::IpPortNet => "hash:ip,port,net",
        }
    }
}

/// One element; which fields count is the set's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// First address.
    pub address: IpAddr,
    /// Prefix length of `address` in a set of networks.
    pub prefix: Option<u8>,
    /// `IPPROTO_*` and port.
    pub port: Option<(u8, u16)>,
    /// Second address, and its prefix length where it is a network.
    pub second: Option<(IpAddr, Option<u8>)>,
    /// The mark that packets which match get, all bits of it.
    pub mark: Option<u32>,
}

/// Creates a set, with elements that carry marks if `marks`, with room for so many; it is no error if the same one exists,
/// whatever its room. A set grows beyond its room, but then the kernel makes its table anew, and anew for each doubling.
pub fn create(batch: &mut Batch, name: &str, kind: Kind, v6: bool, marks: bool, room: usize) {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    message(batch, CREATE_SET, name, |body| {
        body.text(ATTR_TYPE, kind.name());
        body.u8(ATTR_REVISION, 0);
        body.u8(ATTR_FAMILY, family);
        body.nested(ATTR_DATA, |data| {
            let room = u32::try_from(room).unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
            data.be32(DATA_HASH_SIZE | NETWORK_ORDER, room);
            data.be32(DATA_MAX_ELEMENTS | NETWORK_ORDER, MAX_ELEMENTS);
            if marks {
                data.be32(DATA_FLAGS | NETWORK_ORDER, WITH_MARKS);
            }
        });
    });
}

/// Destroys a set that no rule uses.
pub fn destroy(batch: &mut Batch, name: &str) {
    message(batch, DESTROY_SET, name, |_| ());
}

/// Exchanges the elements of two sets of one kind at once: rules see the old ones or the new ones.
pub fn swap(batch: &mut Batch, one: &str, other: &str) {
    message(batch, SWAP, one, |body| body.text(ATTR_SECOND_NAME, other));
}

/// Adds an element; it is no error if it is there.
pub fn add(batch: &mut Batch, name: &str, element: &Element) {
    message(batch, ADD, name, |body| write_element(body, element));
}

/// Adds up to `MAX_ADDED` elements by one message. If one is refused those behind it are not looked at.
pub fn add_all(batch: &mut Batch, name: &str, elements: impl Iterator<Item = Element>) {
    message(batch, ADD, name, |body| {
        // The kernel wants a line to name, as `ipset restore` has one.
        body.u32(ATTR_LINE, 0);
        body.nested(ATTR_ELEMENTS, |list| elements.for_each(|element| write_element(list, &element)));
    });
}

/// Deletes an element; it is no error if it is not there.
pub fn delete(batch: &mut Batch, name: &str, element: &Element) {
    message(batch, DELETE, name, |body| write_element(body, element));
}

/// The number of a set that exists.
pub fn index_of(socket: &mut Socket, name: &str) -> Result<u16, Error> {
    let mut batch = Batch::new();
    message(&mut batch, GET_BY_NAME, name, |_| ());
    let mut index = None;
    socket.request(&mut batch, |answer| {
        let body = answer.payload.get(HEADER_BYTES..).unwrap_or_default();
        index = find(body, ATTR_INDEX).and_then(|index| index.be16());
    })?;
    index.ok_or(Error::Silent)
}

/// Asks for a set by its name; refused if there is none.
pub fn list_header(batch: &mut Batch, name: &str) {
    message(batch, HEADER, name, |_| ());
}

fn message(batch: &mut Batch, command: u16, name: &str, rest: impl FnOnce(&mut Writer<'_>)) {
    batch.message(command, 0, |body| {
        body.raw(&[libc::AF_INET as u8, 0, 0, 0]);
        body.u8(ATTR_PROTOCOL, PROTOCOL_VERSION);
        body.text(ATTR_NAME, name);
        rest(body);
    });
}

fn write_element(body: &mut Writer<'_>, element: &Element) {
    body.nested(ATTR_DATA, |data| {
        write_ip(data, DATA_IP, element.address);
        if let Some(prefix) = element.prefix {
            data.u8(DATA_CIDR, prefix);
        }
        if let Some((protocol, port)) = element.port {
            data.be16(DATA_PORT | NETWORK_ORDER, port);
            data.u8(DATA_PROTOCOL, protocol);
        }
        if let Some((address, prefix)) = element.second {
            write_ip(data, DATA_SECOND_IP, address);
            if let Some(prefix) = prefix {
                data.u8(DATA_SECOND_CIDR, prefix);
            }
        }
        if let Some(mark) = element.mark {
            // Value and mask.
            data.be64(DATA_MARK | NETWORK_ORDER, u64::from(mark) << 32 | u64::from(u32::MAX));
        }
    });
}

fn write_ip(data: &mut Writer<'_>, kind: u16, address: IpAddr) {
    data.nested(kind, |ip| match address {
        IpAddr::V4(address) => ip.attribute(IP_V4 | NETWORK_ORDER, &address.octets()),
        IpAddr::V6(address) => ip.attribute(IP_V6 | NETWORK_ORDER, &address.octets()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_in_bytes() {
        let mut batch = Batch::new();
        let element = Element {
            address: "10.96.0.1".parse().unwrap(),
            prefix: None,
            port: Some((6, 80)),
            second: Some(("10.0.0.0".parse().unwrap(), Some(8))),
            mark: None,
        };
        add(&mut batch, "s", &element);
        #[rustfmt::skip]
        let expected: Vec<u8> = vec![
            88, 0, 0, 0, 9, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
            5, 0, 1, 0, 7, 0, 0, 0, 6, 0, 2, 0, b's', 0, 0, 0,
            52, 0, 7, 0x80,
            12, 0, 1, 0x80, 8, 0, 1, 0x40, 10, 96, 0, 1,
            6, 0, 4, 0x40, 0, 80, 0, 0, 5, 0, 7, 0, 6, 0, 0, 0,
            12, 0, 20, 0x80, 8, 0, 1, 0x40, 10, 0, 0, 0, 5, 0, 21, 0, 8, 0, 0, 0,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(batch.bytes(), expected);
        }
    }

    #[test]
    fn the_largest_elements_fit_one_message() {
        let (address, mut batch) = ("fd00::1".parse().unwrap(), Batch::new());
        let second = Some((address, Some(128)));
        let element = Element { address, prefix: Some(128), port: Some((6, 80)), second, mark: Some(1) };
        add_all(&mut batch, "s", std::iter::repeat_n(element, MAX_ADDED));
        assert_eq!(batch.len(), 1);
        // Header, line and list, then elements of the same bytes that one alone has.
        let mut one = Batch::new();
        add(&mut one, "s", &element);
        let body = &one.bytes()[36..];
        assert_eq!(
            &batch.bytes()[36..48],
            [8, 0, 9, 0, 0, 0, 0, 0, batch.bytes()[44], batch.bytes()[45], 8, 0x80]
        );
        assert!(batch.bytes()[48..].chunks(body.len()).all(|chunk| chunk == body));
    }
}
