//! The sandbox ("pause") image, made by us so that a machine without a registry can run pods.
//!
//! Promise: `archive()` gives the bytes of a docker-archive with one layer that holds one static ELF program
//! of a few instructions. Reads and writes nothing. The program is the first process of a pod: it holds the
//! pod's namespaces open, reaps orphans when the pod shares one PID namespace, and ends on SIGTERM or SIGINT.
//!
//! The program, in words (no C toolchain is needed, so the machine code stands here):
//! ```text
//! block SIGINT, SIGTERM, SIGCHLD                  // blocked signals are queued even for PID 1
//! loop { match sigtimedwait(those, forever) {
//!     SIGCHLD => while wait4(any, no hang) > 0 {}
//!     error (interrupted) => continue
//!     other => exit(0) } }
//! ```

use sha2::{Digest, Sha256};

/// What the image is called in containerd's image store.
pub const REFERENCE: &str = "steersman.local/pause:1";

/// Bits of the signals that are waited for: SIGINT (2), SIGTERM (15), SIGCHLD (17); bit n-1 is signal n.
const SIGNALS: u32 = 1 << 1 | 1 << 14 | 1 << 16;

/// Where the single segment is loaded. Any page-aligned address well above zero does.
const LOAD_ADDRESS: u64 = 0x40_0000;

const ELF_HEADER_BYTES: u64 = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;

/// Machine types that have a program here, as ELF and as OCI name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The machine this process runs on, if there is a program for it.
    pub fn this() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Name in Go's and OCI's spelling.
    pub fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    fn elf_number(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }
}

/// A docker-archive (manifest.json, config.json, layer.tar) that `ctr images import` takes.
pub fn archive(machine: Machine) -> std::io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "pause", 0o755, &program(machine))?;
    let layer = layer.into_inner()?;
    let config = serde_json::json!({
        "architecture": machine.oci_name(),
        "os": "linux",
        "config": { "Entrypoint": ["/pause"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))] },
    });
    let manifest =
        serde_json::json!([{ "Config": "config.json", "RepoTags": [REFERENCE], "Layers": ["layer.tar"] }]);

    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
    append(&mut archive, "config.json", 0o644, config.to_string().as_bytes())?;
    append(&mut archive, "layer.tar", 0o644, &layer)?;
    archive.into_inner()
}

/// The whole ELF file: file header, one program header (read + execute), the code.
pub fn program(machine: Machine) -> Vec<u8> {
    let code: Vec<u8> = match machine {
        Machine::X86_64 => x86_64_code(),
        Machine::Aarch64 => aarch64_code().iter().flat_map(|word| word.to_le_bytes()).collect(),
    };
    let headers = ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES;
    let size = headers + code.len() as u64;

    let mut elf = Vec::with_capacity(size as usize);
    elf.extend_from_slice(&[
        0x7f, b'E', b'L', b'F', 2, /* 64 bit */
        1, /* little endian */
        1, /* version */
    ]);
    elf.resize(16, 0);
    elf.extend_from_slice(&2u16.to_le_bytes()); // type: executable at a fixed address
    elf.extend_from_slice(&machine.elf_number().to_le_bytes());
    elf.extend_from_slice(&1u32.to_le_bytes()); // version
    elf.extend_from_slice(&(LOAD_ADDRESS + headers).to_le_bytes()); // entry point
    elf.extend_from_slice(&ELF_HEADER_BYTES.to_le_bytes()); // the program header follows at once
    elf.extend_from_slice(&0u64.to_le_bytes()); // no section headers
    elf.extend_from_slice(&0u32.to_le_bytes()); // flags
    for half in [ELF_HEADER_BYTES as u16, PROGRAM_HEADER_BYTES as u16, 1 /* one of them */, 0, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }

    elf.extend_from_slice(&1u32.to_le_bytes()); // PT_LOAD
    elf.extend_from_slice(&5u32.to_le_bytes()); // read + execute
    for word in [0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000] {
        elf.extend_from_slice(&word.to_le_bytes()); // offset, address twice, file and memory size, alignment
    }
    elf.extend_from_slice(&code);
    elf
}

/// System calls by number in `eax`, arguments in `rdi rsi rdx r10`.
fn x86_64_code() -> Vec<u8> {
    let mut code = vec![0xb8]; // mov eax, SIGNALS
    code.extend_from_slice(&SIGNALS.to_le_bytes());
    code.extend_from_slice(&[
        0x50, // push rax: the signal set now lies at rsp
        0x31, 0xff, // xor edi, edi: SIG_BLOCK
        0x48, 0x89, 0xe6, // mov rsi, rsp
        0x31, 0xd2, // xor edx, edx
        0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8: size of the set
        0xb8, 14, 0, 0, 0, // mov eax, 14: rt_sigprocmask
        0x0f, 0x05, // syscall
        // wait:
        0x48, 0x89, 0xe7, // mov rdi, rsp
        0x31, 0xf6, // xor esi, esi
        0x31, 0xd2, // xor edx, edx: no timeout
        0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
        0xb8, 128, 0, 0, 0, // mov eax, 128: rt_sigtimedwait
        0x0f, 0x05, // syscall
        0x83, 0xf8, 17, // cmp eax, 17: SIGCHLD
        0x74, 13, // je reap
        0x85, 0xc0, // test eax, eax
        0x78, 0xe3, // js wait: interrupted
        0x31, 0xff, // xor edi, edi
        0xb8, 60, 0, 0, 0, // mov eax, 60: exit
        0x0f, 0x05, // syscall
        // reap:
        0x48, 0xc7, 0xc7, 0xff, 0xff, 0xff, 0xff, // mov rdi, -1: any child
        0x31, 0xf6, // xor esi, esi
        0xba, 1, 0, 0, 0, // mov edx, 1: WNOHANG
        0x45, 0x31, 0xd2, // xor r10d, r10d
        0xb8, 61, 0, 0, 0, // mov eax, 61: wait4
        0x0f, 0x05, // syscall
        0x85, 0xc0, // test eax, eax
        0x7f, 0xe4, // jg reap: one was reaped, look for more
        0xeb, 0xbc, // jmp wait
    ]);
    code
}

/// System calls by number in `x8`, arguments in `x0..x3`.
fn aarch64_code() -> Vec<u32> {
    const fn movz(register: u32, value: u32) -> u32 {
        0xd280_0000 | value << 5 | register
    }
    const SVC: u32 = 0xd400_0001;
    const MOV_X0_SP: u32 = 0x9100_03e0;
    vec![
        movz(0, SIGNALS & 0xffff),
        0xf2a0_0000 | (SIGNALS >> 16) << 5, // movk x0, SIGNALS >> 16, lsl 16
        0xf81f_0fe0,                        // str x0, [sp, -16]!
        movz(0, 0),                         // SIG_BLOCK
        0x9100_03e1,                        // mov x1, sp
        movz(2, 0),
        movz(3, 8),
        movz(8, 135), // rt_sigprocmask
        SVC,
        // wait (word 9):
        MOV_X0_SP,
        movz(1, 0),
        movz(2, 0),
        movz(3, 8),
        movz(8, 137), // rt_sigtimedwait
        SVC,
        0x7100_441f,                                    // cmp w0, 17: SIGCHLD
        0x5400_0000 | 6 << 5,                           // b.eq reap (6 words on)
        0x7100_001f,                                    // cmp w0, 0
        0x5400_0004 | ((-9i32 as u32) & 0x7_ffff) << 5, // b.mi wait (9 words back)
        movz(0, 0),
        movz(8, 93), // exit
        SVC,
        // reap (word 22):
        0x9280_0000, // mov x0, -1: any child
        movz(1, 0),
        movz(2, 1), // WNOHANG
        movz(3, 0),
        movz(8, 260), // wait4
        SVC,
        0x7100_001f,                                    // cmp w0, 0
        0x5400_000c | ((-7i32 as u32) & 0x7_ffff) << 5, // b.gt reap
        0x1400_0000 | ((-21i32 as u32) & 0x3ff_ffff),   // b wait
    ]
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_cksum();
    tar.append_data(&mut header, name, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::PermissionsExt, process::ExitStatusExt};
    use std::process::{Child, Command};
    use std::time::Duration;

    /// Number of the system call on this machine type.
    const SIGTIMEDWAIT: &str = if cfg!(target_arch = "aarch64") { "137 " } else { "128 " };

    /// Starts the program for this machine and waits until it sleeps in its signal wait.
    fn start() -> Option<(tempfile::TempDir, Child)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        std::fs::write(&path, program(Machine::this()?)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&path).spawn().unwrap();
        for _ in 0..500 {
            let syscall = std::fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap();
            if syscall.starts_with(SIGTIMEDWAIT) {
                return Some((dir, child));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the pause program never waited for a signal");
    }

    fn signal(child: &Child, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
    }

    #[test]
    fn program_survives_sigchld_and_ends_cleanly_on_sigterm() {
        let Some((_dir, mut child)) = start() else { return };
        signal(&child, nix::sys::signal::Signal::SIGCHLD);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(child.try_wait().unwrap(), None);
        signal(&child, nix::sys::signal::Signal::SIGTERM);
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }

    #[test]
    fn branches_of_the_arm_program_land_where_the_comments_say() {
        let code = aarch64_code();
        let target = |at: usize| {
            let word = code[at];
            let offset =
                if word >> 26 == 0x05 { (word << 6) as i32 >> 6 } else { ((word >> 5) << 13) as i32 >> 13 };
            (at as i32 + offset) as usize
        };
        let (wait, reap) = (9, 22);
        assert_eq!((code[wait], code[reap]), (0x9100_03e0, 0x9280_0000));
        assert_eq!([target(16), target(18), target(29), target(30)], [reap, wait, reap, wait]);
        assert_eq!(code.len(), 31);
    }

    #[test]
    fn archive_names_the_layer_by_its_digest() {
        let bytes = archive(Machine::Aarch64).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["manifest.json", "config.json", "layer.tar"]);
    }
}
