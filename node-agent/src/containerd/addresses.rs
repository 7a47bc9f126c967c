//! Which addresses the pods of a private containerd get.
//!
//! Promise: the same on every start of one directory; on the first, a range that no route of this machine covers, so
//! that two clusters on one machine do not answer for each other. Reads `/proc/net/route`; writes `pod-cidr`.

use std::path::Path;

/// Ranges tried, in this order: `10.244.0.0/24`, `10.244.1.0/24`... (upstream tools give `10.244.0.0/16` to pods).
const FIRST: u32 = u32::from_be_bytes([10, 244, 0, 0]);
const RANGES: u32 = 256;
const MASK: u32 = 0xffff_ff00;

/// The range of pod addresses that belongs to a containerd directory, such as `10.244.0.0/24`.
///
/// # Errors
///
/// When the directory cannot be written.
pub fn pod_cidr(dir: &Path) -> std::io::Result<String> {
    let file = dir.join("pod-cidr");
    if let Ok(kept) = std::fs::read_to_string(&file) {
        return Ok(kept.trim().to_owned());
    }
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let chosen = format!("{}/24", std::net::Ipv4Addr::from(first_free(&routes)));
    std::fs::create_dir_all(dir)?;
    std::fs::write(&file, &chosen)?;
    Ok(chosen)
}

/// The first range that no specific route touches; the very first if all are taken.
fn first_free(routes: &str) -> u32 {
    let taken: Vec<(u32, u32)> =
        routes.lines().filter_map(destination).filter(|(_, mask)| *mask != 0).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                        eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";

    #[test]
    fn a_machine_without_other_clusters_gives_the_first() {
        assert_eq!(first_free(HEAD), FIRST);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ranges_that_are_routed_are_left_alone() {
        let bridge = format!("{HEAD}cni0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
        assert_eq!(first_free(&bridge), FIRST + 256);
        let wide = format!("{HEAD}flannel\t0000F40A\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n");
        assert_eq!(first_free(&wide), FIRST + 512);
    }

    #[test]
    fn a_directory_keeps_its_range() {
        let dir = std::env::temp_dir().join(format!("steersman-pod-cidr-{}", std::process::id()));
        let first = pod_cidr(&dir).unwrap();
        assert_eq!(pod_cidr(&dir).unwrap(), first);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
