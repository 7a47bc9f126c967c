//! The IPVS tables of the kernel over generic netlink: virtual servers, real servers, timeouts.
//!
//! Promise: a pure codec (`include/uapi/linux/ip_vs.h`, family `IPVS` version 1). Ports are host numbers here and
//! big-endian on the wire, addresses are 16 bytes of which IPv4 uses the first four.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use nix::libc;

use super::generic;
use super::message::{Batch, Message, Writer, attributes, find};
use super::socket::{ACK, DUMP, Error, Socket};

/// The family's name and the module that brings it.
pub const FAMILY: &str = "IPVS";
/// See `FAMILY`.
pub const MODULE: &str = "ip_vs";

const VERSION: u8 = 1;

const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DEL_SERVICE: u8 = 3;
const GET_SERVICE: u8 = 4;
const NEW_DEST: u8 = 5;
const SET_DEST: u8 = 6;
const DEL_DEST: u8 = 7;
const GET_DEST: u8 = 8;
const SET_CONFIG: u8 = 12;
const GET_CONFIG: u8 = 13;
const GET_INFO: u8 = 15;

const ATTR_SERVICE: u16 = 1;
const ATTR_DEST: u16 = 2;
const ATTR_TIMEOUT_TCP: u16 = 4;
const ATTR_TIMEOUT_TCP_FIN: u16 = 5;
const ATTR_TIMEOUT_UDP: u16 = 6;

const SVC_AF: u16 = 1;
const SVC_PROTOCOL: u16 = 2;
const SVC_ADDR: u16 = 3;
const SVC_PORT: u16 = 4;
const SVC_FWMARK: u16 = 5;
const SVC_SCHEDULER: u16 = 6;
const SVC_FLAGS: u16 = 7;
const SVC_TIMEOUT: u16 = 8;
const SVC_NETMASK: u16 = 9;

const DEST_ADDR: u16 = 1;
const DEST_PORT: u16 = 2;
const DEST_FORWARD: u16 = 3;
const DEST_WEIGHT: u16 = 4;
const DEST_UPPER: u16 = 5;
const DEST_LOWER: u16 = 6;
const DEST_ACTIVE: u16 = 7;
const DEST_INACTIVE: u16 = 8;
const DEST_PERSISTENT: u16 = 9;
const DEST_AF: u16 = 11;

const INFO_VERSION: u16 = 1;

/// Forwarding by address translation ("masq"), the only method that also changes ports.
const FORWARD_NAT: u32 = 0;
const FORWARD_MASK: u32 = 7;

/// A virtual server is persistent: clients stay with their real server.
pub const FLAG_PERSISTENT: u32 = 1;
/// Set by the kernel on all of them.
const FLAG_HASHED: u32 = 2;
/// First of three flags that some schedulers read.
pub const FLAG_SCHEDULER_1: u32 = 8;
/// Second one.
pub const FLAG_SCHEDULER_2: u32 = 16;

/// What identifies a virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerKey {
    /// Packets to an address and a port.
    Address {
        /// `IPPROTO_TCP`, `IPPROTO_UDP` or `IPPROTO_SCTP`.
        protocol: u8,
        /// The virtual address.
        address: IpAddr,
        /// The virtual port.
        port: u16,
    },
    /// Packets with a firewall mark; such a server is asked before those by address.
    Mark {
        /// Whether it serves IPv6.
        v6: bool,
        /// The whole mark.
        mark: u32,
    },
}

impl ServerKey {
    /// Whether it serves IPv6.
    pub fn is_v6(&self) -> bool {
        match self {
            ServerKey::Address { address, .. } => address.is_ipv6(),
            ServerKey::Mark { v6, .. } => *v6,
        }
    }
}

/// A virtual server's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name of the scheduler, at most 15 bytes.
    pub scheduler: Arc<str>,
    /// `FLAG_*`.
    pub flags: u32,
    /// Seconds for which a persistent client stays.
    pub timeout: u32,
}

/// What identifies a real server within its virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationKey {
    /// The endpoint's address.
    pub address: IpAddr,
    /// The endpoint's port.
    pub port: u16,
}

/// A real server as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Share of new connections; 0 takes none.
    pub weight: u32,
    /// Established connections.
    pub active: u32,
    /// Connections that end, and all of UDP.
    pub inactive: u32,
    /// Templates of persistent clients.
    pub persistent: u32,
}

/// Timeouts in seconds; 0 leaves the kernel's value as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Idle TCP connections.
    pub tcp: u32,
    /// TCP connections after a FIN.
    pub tcp_fin: u32,
    /// UDP exchanges.
    pub udp: u32,
}

/// Writes commands of the family into a batch.
#[derive(Debug, Clone, Copy)]
pub struct Commands {
    family: u16,
}

impl Commands {
    /// Finds the family; the kernel loads its module if it may.
    pub fn resolve(socket: &mut Socket) -> Result<Commands, Error> {
        generic::family(socket, FAMILY, MODULE).map(|family| Commands { family })
    }

    /// A new virtual server.
    pub fn add_server(&self, batch: &mut Batch, key: &ServerKey, server: &Server) {
        self.server(batch, NEW_SERVICE, key, server);
    }

    /// Other settings for one that exists.
    pub fn set_server(&self, batch: &mut Batch, key: &ServerKey, server: &Server) {
        self.server(batch, SET_SERVICE, key, server);
    }

    /// Deletes one with its real servers. Its connections go on until they end or their next packet finds that the
    /// real server is gone (sysctl `expire_nodest_conn`).
    pub fn delete_server(&self, batch: &mut Batch, key: &ServerKey) {
        self.message(batch, 0, DEL_SERVICE, |body| body.nested(ATTR_SERVICE, |list| write_key(list, key)));
    }

    /// A new real server.
    pub fn add_destination(&self, batch: &mut Batch, server: &ServerKey, key: &DestinationKey, weight: u32) {
        self.destination(batch, NEW_DEST, server, key, weight);
    }

    /// Another weight for one that exists.
    pub fn set_destination(&self, batch: &mut Batch, server: &ServerKey, key: &DestinationKey, weight: u32) {
        self.destination(batch, SET_DEST, server, key, weight);
    }

    /// Deletes a real server.
    pub fn delete_destination(&self, batch: &mut Batch, server: &ServerKey, key: &DestinationKey) {
        self.message(batch, 0, DEL_DEST, |body| {
            body.nested(ATTR_SERVICE, |list| write_key(list, server));
            body.nested(ATTR_DEST, |list| write_destination_key(list, key));
        });
    }

    /// All virtual servers.
    pub fn servers(&self, socket: &mut Socket) -> Result<Vec<(ServerKey, Server)>, Error> {
        socket.dump(
            |batch| self.message(batch, DUMP, GET_SERVICE, |_| ()),
            |rows, message| rows.extend(read_server(&message)),
        )
    }

    /// The real servers of one virtual server.
    pub fn destinations(
        &self,
        socket: &mut Socket,
        server: &ServerKey,
    ) -> Result<Vec<(DestinationKey, Destination)>, Error> {
        socket.dump(
            |batch| {
                self.message(batch, DUMP, GET_DEST, |body| {
                    body.nested(ATTR_SERVICE, |list| write_key(list, server))
                });
            },
            |rows, message| rows.extend(read_destination(&message)),
        )
    }

    /// Sets the timeouts; the kernel keeps those that are 0.
    pub fn set_timeouts(&self, batch: &mut Batch, timeouts: Timeouts) {
        self.message(batch, 0, SET_CONFIG, |body| {
            body.u32(ATTR_TIMEOUT_TCP, timeouts.tcp);
            body.u32(ATTR_TIMEOUT_TCP_FIN, timeouts.tcp_fin);
            body.u32(ATTR_TIMEOUT_UDP, timeouts.udp);
        });
    }

    /// The timeouts in force.
    pub fn timeouts(&self, socket: &mut Socket) -> Result<Timeouts, Error> {
        let mut batch = Batch::new();
        self.message(&mut batch, 0, GET_CONFIG, |_| ());
        let mut timeouts = Timeouts::default();
        socket.request(&mut batch, |message| {
            for attribute in attributes(body(&message)) {
                let value = attribute.u32().unwrap_or(0);
                match attribute.kind {
                    ATTR_TIMEOUT_TCP => timeouts.tcp = value,
                    ATTR_TIMEOUT_TCP_FIN => timeouts.tcp_fin = value,
                    ATTR_TIMEOUT_UDP => timeouts.udp = value,
                    _ => {}
                }
            }
        })?;
        Ok(timeouts)
    }

    /// The version of IPVS, as (major, minor, patch).
    pub fn version(&self, socket: &mut Socket) -> Result<(u8, u8, u8), Error> {
        let mut batch = Batch::new();
        self.message(&mut batch, 0, GET_INFO, |_| ());
        let mut version = 0;
        socket.request(&mut batch, |message| {
            version = find(body(&message), INFO_VERSION).and_then(|value| value.u32()).unwrap_or(0);
        })?;
        let [_, major, minor, patch] = version.to_be_bytes();
        Ok((major, minor, patch))
    }

    fn server(&self, batch: &mut Batch, command: u8, key: &ServerKey, server: &Server) {
        self.message(batch, 0, command, |body| {
            body.nested(ATTR_SERVICE, |list| {
                write_key(list, key);
                list.text(SVC_SCHEDULER, &server.scheduler);
                let mut flags = [0; 8];
                flags[..4].copy_from_slice(&server.flags.to_ne_bytes());
                flags[4..].copy_from_slice(&u32::MAX.to_ne_bytes());
                list.attribute(SVC_FLAGS, &flags);
                list.u32(SVC_TIMEOUT, server.timeout);
                // One client is one address: a mask for IPv4, a prefix length for IPv6.
                list.u32(SVC_NETMASK, if key.is_v6() { 128 } else { u32::MAX });
            });
        });
    }

    fn destination(
        &self,
        batch: &mut Batch,
        command: u8,
        server: &ServerKey,
        key: &DestinationKey,
        weight: u32,
    ) {
        self.message(batch, 0, command, |body| {
            body.nested(ATTR_SERVICE, |list| write_key(list, server));
            body.nested(ATTR_DEST, |list| {
                write_destination_key(list, key);
                list.u32(DEST_FORWARD, FORWARD_NAT);
                list.u32(DEST_WEIGHT, weight);
                list.u32(DEST_UPPER, 0);
                list.u32(DEST_LOWER, 0);
            });
        });
    }

    fn message(&self, batch: &mut Batch, flags: u16, command: u8, body: impl FnOnce(&mut Writer<'_>)) {
        generic::message(batch, self.family, flags & !ACK, command, VERSION, body);
    }
}

fn family_of(address: IpAddr) -> u16 {
    if address.is_ipv4() { libc::AF_INET as u16 } else { libc::AF_INET6 as u16 }
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn read_address(family: u16, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?).into()),
        _ => None,
    }
}

fn write_key(list: &mut Writer<'_>, key: &ServerKey) {
    list.u16(SVC_AF, if key.is_v6() { libc::AF_INET6 } else { libc::AF_INET } as u16);
    match *key {
        ServerKey::Address { protocol, address, port } => {
            list.u16(SVC_PROTOCOL, protocol.into());
            list.attribute(SVC_ADDR, &address_bytes(address));
            list.be16(SVC_PORT, port);
        }
        ServerKey::Mark { mark, .. } => list.u32(SVC_FWMARK, mark),
    }
}

fn write_destination_key(list: &mut Writer<'_>, key: &DestinationKey) {
    list.attribute(DEST_ADDR, &address_bytes(key.address));
    list.be16(DEST_PORT, key.port);
    list.u16(DEST_AF, family_of(key.address));
}

fn body<'a>(message: &Message<'a>) -> &'a [u8] {
    message.payload.get(generic::HEADER_BYTES..).unwrap_or_default()
}

fn read_server(message: &Message<'_>) -> Option<(ServerKey, Server)> {
    let list = find(body(message), ATTR_SERVICE)?.value;
    let mut server = Server { scheduler: Arc::default(), flags: 0, timeout: 0 };
    let (mut family, mut protocol, mut port, mut address, mut mark) = (0, None, None, None, None);
    for attribute in attributes(list) {
        match attribute.kind {
            SVC_AF => family = attribute.u16()?,
            SVC_PROTOCOL => protocol = attribute.u16(),
            SVC_ADDR => address = Some(attribute.value),
            SVC_PORT => port = attribute.be16(),
            SVC_FWMARK => mark = attribute.u32(),
            SVC_SCHEDULER => server.scheduler = attribute.text()?.into(),
            SVC_FLAGS => server.flags = attribute.u32()? & !FLAG_HASHED,
            SVC_TIMEOUT => server.timeout = attribute.u32()?,
            _ => {}
        }
    }
    let key = match mark {
        Some(mark) => ServerKey::Mark { v6: i32::from(family) == libc::AF_INET6, mark },
        None => ServerKey::Address {
            protocol: protocol?.try_into().ok()?,
            address: read_address(family, address?)?,
            port: port?,
        },
    };
    // The kernel reports a timeout also when the server is not persistent.
    if server.flags & FLAG_PERSISTENT == 0 {
        server.timeout = 0;
    }
    Some((key, server))
}

/// None for a real server that does not forward by address translation: not ours.
fn read_destination(message: &Message<'_>) -> Option<(DestinationKey, Destination)> {
    let list = find(body(message), ATTR_DEST)?.value;
    let mut destination = Destination { weight: 0, active: 0, inactive: 0, persistent: 0 };
    let (mut family, mut port, mut address) = (libc::AF_INET as u16, None, None);
    for attribute in attributes(list) {
        match attribute.kind {
            DEST_AF => family = attribute.u16()?,
            DEST_ADDR => address = Some(attribute.value),
            DEST_PORT => port = attribute.be16(),
            DEST_FORWARD if attribute.u32()? & FORWARD_MASK != FORWARD_NAT => return None,
            DEST_WEIGHT => destination.weight = attribute.u32()?,
            DEST_ACTIVE => destination.active = attribute.u32()?,
            DEST_INACTIVE => destination.inactive = attribute.u32()?,
            DEST_PERSISTENT => destination.persistent = attribute.u32()?,
            _ => {}
        }
    }
    Some((DestinationKey { address: read_address(family, address?)?, port: port? }, destination))
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::*;

    const COMMANDS: Commands = Commands { family: 0x1d };

    fn key(address: &str) -> ServerKey {
        ServerKey::Address { protocol: 6, address: address.parse().unwrap(), port: 80 }
    }

    #[test]
    fn a_virtual_server_in_bytes() {
        let mut batch = Batch::new();
        let server = Server { scheduler: "rr".into(), flags: FLAG_PERSISTENT, timeout: 10800 };
        COMMANDS.add_server(&mut batch, &key("10.96.0.1"), &server);
        #[rustfmt::skip]
        let expected: Vec<u8> = vec![
            104, 0, 0, 0, 0x1d, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0,
            84, 0, 1, 0x80,
            6, 0, 1, 0, 2, 0, 0, 0, 6, 0, 2, 0, 6, 0, 0, 0,
            20, 0, 3, 0, 10, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            6, 0, 4, 0, 0, 80, 0, 0, 7, 0, 6, 0, b'r', b'r', 0, 0,
            12, 0, 7, 0, 1, 0, 0, 0, 255, 255, 255, 255,
            8, 0, 8, 0, 0x30, 0x2a, 0, 0, 8, 0, 9, 0, 255, 255, 255, 255,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(batch.bytes(), expected);
        }
    }

    #[test]
    fn servers_and_destinations_are_read_back() {
        let marked = ServerKey::Mark { v6: true, mark: 0x14000 };
        for (key, address) in
            [(key("10.96.0.1"), "10.0.0.1"), (key("fd00::1"), "fd01::1"), (marked, "fd01::1")]
        {
            let mut batch = Batch::new();
            let server = Server { scheduler: "wlc".into(), flags: FLAG_PERSISTENT, timeout: 30 };
            COMMANDS.set_server(&mut batch, &key, &server);
            let endpoint = DestinationKey { address: address.parse().unwrap(), port: 8080 };
            COMMANDS.add_destination(&mut batch, &key, &endpoint, 3);
            let read: Vec<_> = messages(batch.bytes()).collect();
            assert_eq!(read_server(&read[0]), Some((key, server)));
            let expected = Destination { weight: 3, active: 0, inactive: 0, persistent: 0 };
            assert_eq!(read_destination(&read[1]), Some((endpoint, expected)));
        }
    }

    #[test]
    fn what_is_not_ours_or_damaged_is_passed_over() {
        let mut batch = Batch::new();
        COMMANDS.message(&mut batch, 0, NEW_SERVICE, |body| {
            body.nested(ATTR_SERVICE, |list| {
                list.u16(SVC_AF, 77);
                list.u16(SVC_PROTOCOL, 6);
                list.attribute(SVC_ADDR, &[0; 16]);
                list.be16(SVC_PORT, 1);
            });
        });
        COMMANDS.message(&mut batch, 0, NEW_DEST, |body| {
            body.nested(ATTR_DEST, |list| {
                list.attribute(DEST_ADDR, &[0; 16]);
                list.be16(DEST_PORT, 1);
                list.u32(DEST_FORWARD, 3);
            });
        });
        COMMANDS
            .message(&mut batch, 0, NEW_SERVICE, |body| body.nested(ATTR_SERVICE, |list| list.u8(SVC_AF, 2)));
        let read: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!(
            (read_server(&read[0]), read_destination(&read[1]), read_server(&read[2])),
            (None, None, None)
        );
    }
}
