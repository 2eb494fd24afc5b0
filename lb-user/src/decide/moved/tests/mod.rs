//! Each rule about slots over time, and about pins, by itself; all of them together are in `tests/stay`.

mod sweeps;
mod tracks;
