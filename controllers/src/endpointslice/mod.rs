mod diff;
mod endpoint;
