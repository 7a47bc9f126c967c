//! What runs in a cluster beside the control plane, a module each: `dns` is the cluster's DNS server.

pub mod dns;
