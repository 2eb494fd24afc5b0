//! What crosses the boundary between the kernel program and user space.
#![no_std]
