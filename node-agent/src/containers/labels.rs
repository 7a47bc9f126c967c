//! Names of the labels and annotations on sandboxes and containers.
//!
//! Promise: where upstream's kubelet has a name for it, this is that name, so that tools (crictl, log shippers)
//! recognise our pods, and we recognise pods that an earlier run started.

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const POD_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Ours: the file on the host that is mounted at the termination message path.
pub const TERMINATION_MESSAGE_HOST_FILE: &str = "steersman.io/termination-message-file";
