//! understudy, the binary.
fn main() {}
