//! The configuration file: what is accepted, what is refused, and where it says so.

mod expect;
mod files;
mod good;
mod health;
mod limits;
mod mutated;
mod refused;
mod relations;
mod values;
