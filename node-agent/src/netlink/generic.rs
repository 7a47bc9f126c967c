//! Generic netlink: finds a family's number by its name, and writes the family's messages.
//!
//! Promise: a missing family is reported with the kernel module that would bring it; the kernel itself tries to load
//! that module when it is asked for the family (`Documentation/networking/generic_netlink.rst`).

use nix::errno::Errno;

use super::message::{Batch, Writer, find};
use super::socket::{Error, Socket};

const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const CONTROLLER_VERSION: u8 = 1;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Size of the header that precedes the attributes of every generic message.
pub const HEADER_BYTES: usize = 4;

/// The number of family `name`, which kernel module `module` brings.
pub fn family(socket: &mut Socket, name: &'static str, module: &'static str) -> Result<u16, Error> {
    let mut batch = Batch::new();
    message(&mut batch, CONTROLLER, 0, GET_FAMILY, CONTROLLER_VERSION, |body| body.text(FAMILY_NAME, name));
    let mut number = None;
    let answer = socket.request(&mut batch, |answer| {
        let body = answer.payload.get(HEADER_BYTES..).unwrap_or_default();
        number = number.or_else(|| find(body, FAMILY_ID)?.u16());
    });
    match (answer, number) {
        (Ok(()), Some(number)) => Ok(number),
        (Err(Error::Refused(failure)), _) if failure.errno == Errno::ENOENT => {
            Err(Error::NoFamily { name, module })
        }
        (Err(error), _) => Err(error),
        (Ok(()), None) => Err(Error::NoFamily { name, module }),
    }
}

/// Appends one message of a family.
pub fn message(
    batch: &mut Batch,
    family: u16,
    flags: u16,
    command: u8,
    version: u8,
    body: impl FnOnce(&mut Writer<'_>),
) {
    batch.message(family, flags, |writer| {
        writer.raw(&[command, version, 0, 0]);
        body(writer);
    });
}

#[cfg(test)]
mod tests {
    use super::super::socket::Protocol;
    use super::*;

    #[test]
    fn the_controller_finds_itself_and_names_what_is_missing() {
        let mut socket = Socket::open(Protocol::Generic).unwrap();
        assert_eq!(family(&mut socket, "nlctrl", "(built in)").unwrap(), CONTROLLER);
        let error = family(&mut socket, "no-such-family", "no_such_module").unwrap_err();
        assert!(error.to_string().contains("no_such_module"), "{error}");
    }
}
