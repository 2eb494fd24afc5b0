//! The configuration file: what is accepted, what is refused, and where it says so.

mod destinations;
mod drains;
mod expect;
mod files;
mod forward;
mod good;
mod health;
mod limits;
mod mutated;
mod refused;
mod relations;
mod values;
