//! The service proxy: what kube-proxy is, over netlink.
//!
//! Promise: the kernel's tables are read and written by netlink alone; no program is called.

pub mod netlink;
