//! Names of the labels and annotations on sandboxes and containers.
//!
//! Promise: where upstream's kubelet has a name for it, this is that name, so that tools (crictl, log shippers)
//! recognise our pods, and we recognise pods that an earlier run started.

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub(crate) const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub(crate) const POD_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Ours: the file on the host that is mounted at the termination message path.
pub(crate) const TERMINATION_MESSAGE_HOST_FILE: &str = "steersman.io/termination-message-file";
