//! Why the kernel was not programmed, in words for an operator.
//!
//! Promise: whatever was in force before still is.

/// Why the kernel was not programmed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The kernel lacks a part; the text names the module or option.
    #[error("this kernel lacks {0}")]
    Missing(String),
    #[error("no permission to change the network: run as root or with CAP_NET_ADMIN")]
    Permission,
    /// Talking to the kernel failed.
    #[error("cannot {doing}")]
    Netlink { doing: &'static str, source: std::io::Error },
    /// The kernel refused a message of the batch, and with it the whole batch.
    #[error("the kernel refuses to {doing}")]
    Refused { doing: String, source: std::io::Error },
}
