//! Container images made on the spot from the machine's static busybox: no registry, no docker.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Where Debian's `busybox-static` puts its program.
const BUSYBOX: &[&str] = &["/bin/busybox", "/usr/bin/busybox"];
const WORLD_WRITABLE: u32 = 0o1777;

/// Writes a docker-archive of an image with busybox and all its applets, under each of the `references`.
///
/// # Panics
/// When the machine has no static busybox; says how to get it.
pub fn busybox(archive: &Path, references: &[&str]) {
    let program = BUSYBOX.iter().find_map(|path| std::fs::read(path).ok());
    let program = program.expect("no busybox: apt-get install busybox-static (`make test` does it)");
    let layer = layer(&program);
    let digest = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": references, "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(std::fs::File::create(archive).expect("archive"));
    append(&mut tar, "manifest.json", manifest.to_string().as_bytes(), 0o644);
    append(&mut tar, "config.json", config.to_string().as_bytes(), 0o644);
    append(&mut tar, "layer.tar", &layer, 0o644);
    tar.into_inner().and_then(|mut file| file.flush()).expect("archive written");
}

fn layer(program: &[u8]) -> Vec<u8> {
    let applets = Command::new("busybox").arg("--list").output().expect("busybox runs").stdout;
    let mut tar = tar::Builder::new(Vec::new());
    for (folder, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", WORLD_WRITABLE)] {
        let mut header = header(0, mode);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, folder, std::io::empty()).expect("in memory");
    }
    append(&mut tar, "bin/busybox", program, 0o755);
    append(&mut tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644);
    for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| *applet != "busybox") {
        let mut header = header(0, 0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("in memory");
    }
    tar.into_inner().expect("in memory")
}

fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8], mode: u32) {
    tar.append_data(&mut header(bytes.len() as u64, mode), path, bytes).expect("in memory");
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
