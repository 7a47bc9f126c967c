//! The servers and search domains of a `resolv.conf`.
//!
//! Promise: pure but for the one read; what a resolver would ignore is ignored.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hickory_proto::rr::Name;

/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// What a `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) searches: Vec<Name>,
}

/// The file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the upstream servers from {}", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: std::io::Error,
}

pub(super) fn read(path: &Path) -> Result<ResolvConf, ReadError> {
    let text = std::fs::read_to_string(path);
    text.map(|text| parse(&text)).map_err(|source| ReadError { path: path.to_owned(), source })
}

fn parse(text: &str) -> ResolvConf {
    let mut found = ResolvConf::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|address| address.parse::<IpAddr>().ok());
                found.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
            }
            // The last of them counts.
            Some("search" | "domain") => found.searches = words.filter_map(search).collect(),
            _ => {}
        }
    }
    found
}

fn search(domain: &str) -> Option<Name> {
    let mut name = Name::from_ascii(domain).ok()?.to_lowercase();
    name.set_fqdn(true);
    Some(name).filter(|name| !name.is_root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_searches_are_read() {
        let text = "# comment\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver nonsense\n\
                    domain old\nsearch Corp.example lab. .\noptions ndots:2\n";
        let found = parse(text);
        assert_eq!(found.servers, ["10.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
        let searches: Vec<String> = found.searches.iter().map(Name::to_string).collect();
        assert_eq!(searches, ["corp.example.", "lab."]);
    }
}
