//! Decides whether the XDP object is embedded: it is if the environment names one.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

const VARIABLE: &str = "UNDERSTUDY_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(has_object)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let Some(object) = env::var_os(VARIABLE) else {
        return Ok(());
    };
    let object = Path::new(&object);
    println!("cargo::rerun-if-changed={}", object.display());
    let out = env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    fs::copy(object, Path::new(&out).join("understudy.o"))
        .map_err(|error| format!("{VARIABLE} = {}: {error}", object.display()))?;
    println!("cargo::rustc-cfg=has_object");
    Ok(())
}
