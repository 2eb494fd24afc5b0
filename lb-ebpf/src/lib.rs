//! The stages of the packet's way.
#![no_std]
