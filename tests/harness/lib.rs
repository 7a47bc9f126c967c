//! What the suites share: clusters to test against, the clients that users have, and images made on the spot.
//!
//! `process` runs the real binary, `kubectl` the machine's own kubectl, `image` makes container images without a
//! registry, `eventually` waits on state and never on time; `bench` prints figures, `wire` is a lean client for load.

pub mod bench;
pub mod chart;
pub mod cluster;
pub mod cpio;
pub mod eventually;
pub mod faults;
pub mod image;
pub mod kubectl;
pub mod nodes;
pub mod process;
pub mod uml;
pub mod vm;
pub mod wire;
