//! Tests of the decision core as a whole; units have theirs beside them.

mod acceptance;
mod admin;
pub(crate) mod fixture;
mod forwards;
mod freeze;
mod leaving;
mod pools;
mod purity;
mod reference;
mod restart;
mod resume;
mod services;
mod speed;
mod stay;
mod steps;
pub(in crate::decide) mod traces;
mod views;
