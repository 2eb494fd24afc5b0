//! Real servers for health checks to ask, and the ways in which they, and the network before
//! them, can be made to fail and to recover.

pub mod agent;
pub mod certificates;
pub mod debian;
pub mod dns;
pub mod fickle;
pub mod firewall;
pub mod grpc;
pub mod nginx;
pub mod process;
