//! Routes to networks behind a neighbour, over route netlink.
//!
//! Promise: a pure codec (`include/uapi/linux/rtnetlink.h`). Routes of ours carry `GATEWAY_PROTOCOL`, so that they are
//! found again after a restart and nobody else's route is ever touched.

use std::net::IpAddr;

use super::message::{Batch, Message, attributes};
use super::route::{
    DEL_ROUTE, NEW_ROUTE, ROUTE_DESTINATION, ROUTE_HEADER_BYTES, ROUTE_TABLE, dump, family, read_ip,
};
use super::socket::{CREATE, Error, REPLACE, Socket};
use crate::addresses::octets;

/// `rtm_protocol` of routes to the pods of other nodes: a number that no routing daemon has registered.
pub const GATEWAY_PROTOCOL: u8 = 84;

const ROUTE_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const SCOPE_EVERYWHERE: u8 = 0;
const TYPE_UNICAST: u8 = 1;

/// A network and the neighbour that it is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayRoute {
    /// The network's address.
    pub network: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The neighbour.
    pub gateway: IpAddr,
}

/// Our routes, those with `GATEWAY_PROTOCOL`.
pub fn gateway_routes(socket: &mut Socket) -> Result<Vec<GatewayRoute>, Error> {
    dump(socket, read)
}

/// Adds a route, in the place of one to the same network.
pub fn add_gateway_route(batch: &mut Batch, route: &GatewayRoute) {
    write(batch, NEW_ROUTE, CREATE | REPLACE, route);
}

/// Takes a route of ours away.
pub fn delete_gateway_route(batch: &mut Batch, route: &GatewayRoute) {
    write(batch, DEL_ROUTE, 0, route);
}

fn write(batch: &mut Batch, kind: u16, flags: u16, route: &GatewayRoute) {
    // family, destination and source prefix, tos, table, protocol, scope, type, then four bytes of flags.
    let mut header = [0; ROUTE_HEADER_BYTES];
    let family = family(route.network);
    header[..8].copy_from_slice(&[
        family,
        route.prefix,
        0,
        0,
        TABLE_MAIN,
        GATEWAY_PROTOCOL,
        SCOPE_EVERYWHERE,
        TYPE_UNICAST,
    ]);
    batch.message(kind, flags, |body| {
        body.raw(&header);
        body.attribute(ROUTE_DESTINATION, &octets(route.network));
        body.attribute(ROUTE_GATEWAY, &octets(route.gateway));
        body.u32(ROUTE_TABLE, u32::from(TABLE_MAIN));
    });
}

fn read(message: &Message<'_>) -> Option<GatewayRoute> {
    let (header, list) = message.payload.split_at_checked(ROUTE_HEADER_BYTES)?;
    if (header[4], header[5], header[7]) != (TABLE_MAIN, GATEWAY_PROTOCOL, TYPE_UNICAST) {
        return None;
    }
    let (mut network, mut gateway) = (None, None);
    for attribute in attributes(list) {
        match attribute.kind {
            ROUTE_DESTINATION => network = read_ip(header[0], attribute.value),
            ROUTE_GATEWAY => gateway = read_ip(header[0], attribute.value),
            _ => {}
        }
    }
    Some(GatewayRoute { network: network?, prefix: header[1], gateway: gateway? })
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::*;

    #[test]
    fn a_route_in_bytes_and_back() {
        for (network, prefix, gateway) in
            [("10.244.2.0", 24, "172.30.9.12"), ("fd00:244:2::", 64, "fd00:9::12")]
        {
            let (network, gateway) = (network.parse().unwrap(), gateway.parse().unwrap());
            let route = GatewayRoute { network, prefix, gateway };
            let mut batch = Batch::new();
            add_gateway_route(&mut batch, &route);
            assert_eq!(read(&messages(batch.bytes()).next().unwrap()), Some(route));
        }
    }
}
