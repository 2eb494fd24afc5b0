//! understudy, the library.
