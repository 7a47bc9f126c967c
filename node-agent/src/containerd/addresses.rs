//! Which addresses the pods of a private containerd get.
//!
//! Promise: the same on every start of one directory; on the first, a range that no route of this machine covers and
//! no other node of the cluster has, so that nobody answers for another's pods. Reads `/proc/net/route`; writes `pod-cidr`.

use std::net::IpAddr;
use std::path::Path;

use crate::addresses::Cidr;

/// Ranges tried, in this order: `10.244.0.0/24`, `10.244.1.0/24`... (upstream tools give `10.244.0.0/16` to pods).
const FIRST: u32 = u32::from_be_bytes([10, 244, 0, 0]);
const RANGES: u32 = 256;
const MASK: u32 = 0xffff_ff00;

/// The range of pod addresses that belongs to a containerd directory, such as `10.244.0.0/24`; `taken` are ranges of
/// other nodes.
///
/// # Errors
///
/// When the directory cannot be written.
pub fn pod_cidr(dir: &Path, taken: &[Cidr]) -> std::io::Result<String> {
    let file = dir.join("pod-cidr");
    if let Ok(kept) = std::fs::read_to_string(&file) {
        return Ok(kept.trim().to_owned());
    }
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let chosen = format!("{}/24", std::net::Ipv4Addr::from(first_free(&routes, taken)));
    keep_pod_cidr(dir, &chosen)?;
    Ok(chosen)
}

/// Gives a containerd directory a range that somebody chose.
///
/// # Errors
///
/// When the directory cannot be written.
pub fn keep_pod_cidr(dir: &Path, chosen: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("pod-cidr"), chosen)
}

/// The first range that no specific route and no other node touches; the very first if all are taken.
fn first_free(routes: &str, nodes: &[Cidr]) -> u32 {
    let routes = routes.lines().filter_map(destination).filter(|(_, mask)| *mask != 0);
    let taken: Vec<(u32, u32)> = routes.chain(nodes.iter().filter_map(network)).collect();
    let overlaps =
        |range: u32| taken.iter().any(|(network, mask)| range & mask & MASK == network & mask & MASK);
    (0..RANGES).map(|index| FIRST + (index << 8)).find(|range| !overlaps(*range)).unwrap_or(FIRST)
}

/// (network, mask) of a line of `/proc/net/route`, where both are hexadecimal in the machine's byte order.
fn destination(line: &str) -> Option<(u32, u32)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &&str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    Some((number(fields.get(1)?)?, number(fields.get(7)?)?))
}

/// (network, mask) of a range of IPv4 addresses.
fn network(range: &Cidr) -> Option<(u32, u32)> {
    let IpAddr::V4(network) = range.network() else { return None };
    Some((network.into(), u32::MAX.checked_shl(32 - u32::from(range.prefix())).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                        eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";

    #[test]
    fn a_machine_without_other_clusters_gives_the_first() {
        assert_eq!(first_free(HEAD, &[]), FIRST);
        let nodes = ["10.244.0.0/23", "10.244.3.0/24", "fd00::/64"].map(|range| range.parse().unwrap());
        assert_eq!(first_free(HEAD, &nodes), FIRST + 512);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ranges_that_are_routed_are_left_alone() {
        let bridge = format!("{HEAD}cni0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
        assert_eq!(first_free(&bridge, &[]), FIRST + 256);
        let wide = format!("{HEAD}flannel\t0000F40A\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n");
        assert_eq!(first_free(&wide, &[]), FIRST + 512);
    }

    #[test]
    fn a_directory_keeps_its_range() {
        let dir = std::env::temp_dir().join(format!("steersman-pod-cidr-{}", std::process::id()));
        let first = pod_cidr(&dir, &[]).unwrap();
        assert_eq!(pod_cidr(&dir, &[first.parse().unwrap()]).unwrap(), first);
        keep_pod_cidr(&dir, "10.9.0.0/16").unwrap();
        assert_eq!(pod_cidr(&dir, &[]).unwrap(), "10.9.0.0/16");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
