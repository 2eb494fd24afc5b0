//! Tests of the decision core as a whole; units have theirs beside them.

mod acceptance;
mod fixture;
mod steps;
