//! The bridge that joins the pods of a private containerd.
//!
//! Promise: it has its address before there is a pod, so that what listens there (cluster DNS) is reached from this
//! machine and from other nodes at once. The CNI plug-in finds it and plugs pods into it. Writes one link.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::netlink::{Batch, Error, Protocol, Socket, route};

/// Makes the bridge, or sees that it is there, with an address of the pods' network.
pub(super) fn make(name: &str, address: IpAddr, prefix: u8) -> Result<(), Error> {
    let mut socket = Socket::open(Protocol::Route)?;
    if index(&mut socket, name)?.is_none() {
        let mut batch = Batch::new();
        route::add_link(&mut batch, name, "bridge");
        send(&mut socket, batch, Errno::EEXIST)?;
    }
    let index = index(&mut socket, name)?.ok_or(Error::Silent)?;
    let mut batch = Batch::new();
    route::add_address(&mut batch, index, address, prefix);
    send(&mut socket, batch, Errno::EEXIST)
}

/// Takes the bridge away; that it is not there is no error.
pub(super) fn remove(name: &str) -> Result<(), Error> {
    let mut socket = Socket::open(Protocol::Route)?;
    let Some(index) = index(&mut socket, name)? else { return Ok(()) };
    let mut batch = Batch::new();
    route::delete_link(&mut batch, index);
    send(&mut socket, batch, Errno::ENODEV)
}

fn index(socket: &mut Socket, name: &str) -> Result<Option<u32>, Error> {
    Ok(route::links(socket)?.into_iter().find(|link| link.name == name).map(|link| link.index))
}

fn send(socket: &mut Socket, mut batch: Batch, harmless: Errno) -> Result<(), Error> {
    let failures = socket.execute(&mut batch)?;
    match failures.into_iter().find(|failure| failure.errno != harmless) {
        Some(failure) => Err(Error::Refused(failure)),
        None => Ok(()),
    }
}
