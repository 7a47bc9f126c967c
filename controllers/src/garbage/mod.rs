//! gc
mod decide;
mod graph;
