//! Embeds the kept frames of `cases/`, so that the suites have them wherever they run.

use std::{env, fmt::Write, fs, path::Path};

fn main() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    println!("cargo:rerun-if-changed={}", kept.display());
    let mut files: Vec<_> = fs::read_dir(&kept)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(list, "({name:?}, include_str!({file:?})),");
    }
    list.push(']');
    let out = env::var_os("OUT_DIR").map(|directory| Path::new(&directory).join("kept.rs"));
    if let Some(Err(error)) = out.map(|out| fs::write(out, list)) {
        panic!("cannot write the list of kept frames: {error}");
    }
}
