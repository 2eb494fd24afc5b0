//! An agent and an asker over real sockets on the loopback interface.

mod bench;
mod hostile;
mod together;
