//! From a pod's spec to what the runtime is told: sandbox and container configurations.
//!
//! Promise: pure but for what is passed in (values of config maps and secrets, paths of mounted volumes).

pub mod labels;
