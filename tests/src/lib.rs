//! What tests and the lab are made of: a network of namespaces with real servers, load and a
//! daemon on it; the packet's way case by case; and the runner of the suites.

pub mod background;
pub mod bench;
pub mod board;
pub mod checked;
pub mod clock;
pub mod configuration;
pub mod daemon;
pub mod deaths;
pub mod detection;
pub mod flood;
pub mod lab;
pub mod load;
pub mod netns;
pub mod offload;
pub mod owner;
pub mod pipeline;
pub mod road;
pub mod runner;
pub mod servers;
pub mod site;
pub mod status;
pub mod stop;
pub mod suites;
pub mod topology;
pub mod variant;
pub mod windows;
pub mod xdp;
