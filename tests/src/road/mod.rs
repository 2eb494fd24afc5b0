//! A road from a client to nodes: routers, VLANs, gateways, small links, and real traffic on it
//! whose judge is Linux's own stack.

pub mod addresses;
pub mod check;
pub mod client;
pub mod configuration;
pub mod counters;
pub mod ends;
pub mod network;
pub mod pattern;
pub mod servers;
pub mod shape;
pub mod travel;
pub mod way;
pub mod wire;
