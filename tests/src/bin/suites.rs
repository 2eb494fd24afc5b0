//! stub
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some("--killed-writer") {
        harness::pipeline::killed_writer(&args[2], &args[3]).unwrap();
        return;
    }
    for c in harness::pipeline::suites() {
        if args.len() > 1 && !args[1..].iter().any(|a| c.name.contains(a.as_str())) {
            continue;
        }
        let t = std::time::Instant::now();
        match (c.run)() {
            Ok(()) => println!("ok {} {:?}", c.name, t.elapsed()),
            Err(e) => println!("FAILED {}: {e:?}", c.name),
        }
    }
}
