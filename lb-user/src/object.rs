//! The XDP object in this program, if it was built with one (`cargo xtask build`).

/// The object, aligned as its loader needs it; None in a plain `cargo build`.
#[must_use]
pub fn object() -> Option<&'static [u8]> {
    #[cfg(has_object)]
    let object = Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/understudy.o")));
    #[cfg(not(has_object))]
    let object = None;
    object
}
