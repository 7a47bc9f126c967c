//! Keeps a ServiceAccount named `default` in every active namespace: pods that name none run as it.
//!
//! Reads: Namespaces, ServiceAccounts (metadata). Writes: creates ServiceAccounts. Never changes or deletes one.
