//! What runs in a cluster beside the control plane, a module each. None is written yet; cluster DNS comes first.
