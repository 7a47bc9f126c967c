//! Addresses, local routes and the dummy device over route netlink.
//!
//! Promise: a pure codec (`include/uapi/linux/rtnetlink.h`). Routes of ours carry `ROUTE_PROTOCOL`, so that they are
//! found again after a restart and nobody else's route is ever touched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;
use nix::libc;

use super::message::{Batch, Message, attributes, find};
use super::socket::{CREATE, DUMP, EXCLUSIVE, Error, REPLACE, Socket};
use crate::addresses::octets;

/// `rtm_protocol` of the proxy's routes: a number that no routing daemon has registered.
pub const ROUTE_PROTOCOL: u8 = 83;

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
pub(super) const NEW_ROUTE: u16 = 24;
pub(super) const DEL_ROUTE: u16 = 25;
pub(super) const GET_ROUTE: u16 = 26;

const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const LINK_INFO_KIND: u16 = 1;
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
pub(super) const ROUTE_DESTINATION: u16 = 1;
const ROUTE_DEVICE: u16 = 4;
const ROUTE_SOURCE: u16 = 7;
pub(super) const ROUTE_TABLE: u16 = 15;

const TABLE_LOCAL: u8 = 255;
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;

const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
pub(super) const ROUTE_HEADER_BYTES: usize = 12;

/// `IFA_F_TENTATIVE | IFA_F_DADFAILED`: an IPv6 address that is not usable (yet).
const UNUSABLE: u8 = 0x40 | 0x08;
/// `IFA_F_NODAD`: no duplicate check for an address that is on many nodes by design.
const NO_DUPLICATE_CHECK: u8 = 0x02;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in this network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
}

/// An address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The device that has it.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// `RT_SCOPE_*`: 0 everywhere, 253 this link, 254 this machine.
    pub scope: u8,
}

/// A route of ours that makes one address local without a device having it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalRoute {
    /// The address.
    pub address: IpAddr,
    /// The source address of connections from this machine to it; none lets the kernel take the address itself.
    pub source: Option<IpAddr>,
}

/// All devices.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    socket.dump(
        |batch| batch.message(GET_LINK, DUMP, |body| body.raw(&[0; LINK_HEADER_BYTES])),
        |rows, message| rows.extend(read_link(&message)),
    )
}

/// All usable addresses.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    socket.dump(
        |batch| batch.message(GET_ADDRESS, DUMP, |body| body.raw(&[0; ADDRESS_HEADER_BYTES])),
        |rows, message| rows.extend(read_address(&message)),
    )
}

/// Our local routes, those with `ROUTE_PROTOCOL`.
pub fn local_routes(socket: &mut Socket) -> Result<Vec<LocalRoute>, Error> {
    dump(socket, read_route)
}

/// The routes of all families that `read` knows.
pub(super) fn dump<R>(
    socket: &mut Socket,
    read: impl Fn(&Message<'_>) -> Option<R>,
) -> Result<Vec<R>, Error> {
    let mut all = Vec::new();
    // Of all families at once the kernel would give the first registered only where IPv6 is off.
    for family in [libc::AF_INET, libc::AF_INET6] {
        let routes = socket.dump(
            |batch| {
                let mut header = [0; ROUTE_HEADER_BYTES];
                header[0] = family as u8;
                batch.message(GET_ROUTE, DUMP, |body| body.raw(&header));
            },
            |rows, message| rows.extend(read(&message)),
        );
        match routes {
            Ok(routes) => all.extend(routes),
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Makes an address local over the loopback device (index 1 in every network namespace).
pub fn add_local_route(batch: &mut Batch, route: &LocalRoute) {
    batch.message(NEW_ROUTE, CREATE | REPLACE, |body| {
        body.raw(&route_header(route.address));
        body.attribute(ROUTE_DESTINATION, &octets(route.address));
        body.u32(ROUTE_DEVICE, LOOPBACK);
        if let Some(source) = route.source {
            body.attribute(ROUTE_SOURCE, &octets(source));
        }
        body.u32(ROUTE_TABLE, u32::from(TABLE_LOCAL));
    });
}

/// Takes a local route of ours away.
pub fn delete_local_route(batch: &mut Batch, address: IpAddr) {
    batch.message(DEL_ROUTE, 0, |body| {
        body.raw(&route_header(address));
        body.attribute(ROUTE_DESTINATION, &octets(address));
        body.u32(ROUTE_DEVICE, LOOPBACK);
        body.u32(ROUTE_TABLE, u32::from(TABLE_LOCAL));
    });
}

/// The loopback device.
const LOOPBACK: u32 = 1;

/// A new device without hardware of a kind (`dummy`, `bridge`), up.
pub fn add_link(batch: &mut Batch, name: &str, kind: &str) {
    let mut header = [0; LINK_HEADER_BYTES];
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    header[8..12].copy_from_slice(&up);
    header[12..16].copy_from_slice(&up);
    batch.message(NEW_LINK, CREATE | EXCLUSIVE, |body| {
        body.raw(&header);
        body.text(LINK_NAME, name);
        body.nested(LINK_INFO, |info| info.attribute(LINK_INFO_KIND, kind.as_bytes()));
    });
}

/// Deletes a device.
pub fn delete_link(batch: &mut Batch, index: u32) {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    batch.message(DEL_LINK, 0, |body| body.raw(&header));
}

/// Gives a device one more address, of a network with a prefix of so many bits.
pub fn add_address(batch: &mut Batch, link: u32, address: IpAddr, prefix: u8) {
    batch.message(NEW_ADDRESS, CREATE | REPLACE, |body| {
        body.raw(&address_header(link, address, prefix));
        body.attribute(ADDRESS_LOCAL, &octets(address));
        body.attribute(ADDRESS_ADDRESS, &octets(address));
    });
}

/// Takes an address with a network of its own from a device.
pub fn delete_address(batch: &mut Batch, link: u32, address: IpAddr) {
    batch.message(DEL_ADDRESS, 0, |body| {
        body.raw(&address_header(link, address, bits(address)));
        body.attribute(ADDRESS_LOCAL, &octets(address));
        body.attribute(ADDRESS_ADDRESS, &octets(address));
    });
}

pub(super) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// The bits of an address: the prefix of a network of one.
pub fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn route_header(address: IpAddr) -> [u8; ROUTE_HEADER_BYTES] {
    // family, destination and source prefix, tos, table, protocol, scope, type, then four bytes of flags.
    let mut header = [0; ROUTE_HEADER_BYTES];
    header[..8].copy_from_slice(&[
        family(address),
        bits(address),
        0,
        0,
        TABLE_LOCAL,
        ROUTE_PROTOCOL,
        // IPv6 knows no scope of routes.
        if address.is_ipv4() { SCOPE_HOST } else { 0 },
        TYPE_LOCAL,
    ]);
    header
}

fn address_header(link: u32, address: IpAddr, prefix: u8) -> [u8; ADDRESS_HEADER_BYTES] {
    let flags = if address.is_ipv6() { NO_DUPLICATE_CHECK } else { 0 };
    let mut header = [0; ADDRESS_HEADER_BYTES];
    header[..4].copy_from_slice(&[family(address), prefix, flags, 0]);
    header[4..].copy_from_slice(&link.to_ne_bytes());
    header
}

pub(super) fn read_ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn read_link(message: &Message<'_>) -> Option<Link> {
    let (header, list) = message.payload.split_at_checked(LINK_HEADER_BYTES)?;
    Some(Link {
        index: u32::from_ne_bytes(header[4..8].try_into().ok()?),
        up: u32::from_ne_bytes(header[8..12].try_into().ok()?) & libc::IFF_UP as u32 != 0,
        name: find(list, LINK_NAME)?.text()?.to_owned(),
    })
}

fn read_address(message: &Message<'_>) -> Option<Address> {
    let (header, list) = message.payload.split_at_checked(ADDRESS_HEADER_BYTES)?;
    if header[2] & UNUSABLE != 0 {
        return None;
    }
    // On a point-to-point device `IFA_ADDRESS` is the peer; IPv6 has no `IFA_LOCAL` otherwise.
    let address = find(list, ADDRESS_LOCAL).or_else(|| find(list, ADDRESS_ADDRESS))?;
    Some(Address {
        link: u32::from_ne_bytes(header[4..8].try_into().ok()?),
        address: read_ip(header[0], address.value)?,
        prefix: header[1],
        scope: header[3],
    })
}

fn read_route(message: &Message<'_>) -> Option<LocalRoute> {
    let (header, list) = message.payload.split_at_checked(ROUTE_HEADER_BYTES)?;
    let ours = header[5] == ROUTE_PROTOCOL && header[7] == TYPE_LOCAL && header[4] == TABLE_LOCAL;
    if !ours {
        return None;
    }
    let (mut address, mut source) = (None, None);
    for attribute in attributes(list) {
        match attribute.kind {
            ROUTE_DESTINATION => address = read_ip(header[0], attribute.value),
            ROUTE_SOURCE => source = read_ip(header[0], attribute.value),
            _ => {}
        }
    }
    let address = address.filter(|address| header[1] == bits(*address))?;
    Some(LocalRoute { address, source })
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::super::socket::Protocol;
    use super::*;

    #[test]
    fn a_local_route_in_bytes_and_back() {
        let route = LocalRoute {
            address: "10.96.0.1".parse().unwrap(),
            source: Some("192.168.50.1".parse().unwrap()),
        };
        let mut batch = Batch::new();
        add_local_route(&mut batch, &route);
        #[rustfmt::skip]
        let expected: Vec<u8> = vec![
            60, 0, 0, 0, 24, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0,
            2, 32, 0, 0, 255, 83, 254, 2, 0, 0, 0, 0,
            8, 0, 1, 0, 10, 96, 0, 1, 8, 0, 4, 0, 1, 0, 0, 0, 8, 0, 7, 0, 192, 168, 50, 1, 8, 0, 15, 0, 255, 0, 0, 0,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(batch.bytes(), expected);
        }
        assert_eq!(read_route(&messages(batch.bytes()).next().unwrap()), Some(route));
    }

    #[test]
    fn an_address_in_bytes_and_back() {
        let mut batch = Batch::new();
        add_address(&mut batch, 7, "fd00::1".parse().unwrap(), 128);
        let read = read_address(&messages(batch.bytes()).next().unwrap());
        let expected = Address { link: 7, address: "fd00::1".parse().unwrap(), prefix: 128, scope: 0 };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn the_loopback_is_found() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        assert!(links(&mut socket).unwrap().iter().any(|link| link.index == LOOPBACK && link.name == "lo"));
        addresses(&mut socket).unwrap();
        local_routes(&mut socket).unwrap();
    }
}
