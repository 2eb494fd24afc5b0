//! The method's worked examples: who is down, and which shares follow.

use super::fixture::{Bench, service, six_clusters};
use crate::config::{BackupMode, Service};

/// Who is down, then shares in percent.
type Case = (&'static str, &'static [(&'static str, f64)]);

fn run(mode: BackupMode, standbys: &str, change: impl Fn(&mut Service), cases: &[Case]) {
    let mut config = six_clusters();
    let mut service = service(&config, "web", mode, "A B C", standbys);
    change(&mut service);
    config.services.push(service);
    let mut bench = Bench::new(config);
    for (down, shares) in cases {
        let decision = bench.down(down);
        for (name, share) in *shares {
            let is = bench.share(&decision, name);
            assert!((is - share).abs() <= 0.5, "down: {down}; {name}: {is}, not {share}");
            assert!((is == 0.0) == (*share == 0.0), "down: {down}; {name}: {is}, not {share}");
        }
    }
}

#[test]
fn multi_standby() {
    run(
        BackupMode::MultiStandby,
        "X Y Z",
        |_| (),
        &[
            ("", &[("A", 50.0), ("B", 30.0), ("C", 20.0), ("X", 0.0), ("Y", 0.0), ("Z", 0.0)]),
            ("", &[("a01", 20.0), ("a02", 15.0), ("a03", 10.0), ("a04", 5.0)]),
            ("a01", &[("a01", 0.0), ("a02", 25.0), ("a03", 16.67), ("a04", 8.33), ("B", 30.0)]),
            ("a01 a02", &[("a03", 33.33), ("a04", 16.67), ("B", 30.0), ("C", 20.0)]),
            ("a01 a02 a03", &[("A", 0.0), ("a04", 0.0), ("X", 37.5), ("Y", 12.5), ("Z", 0.0)]),
            ("a01 a02 a03", &[("x01", 18.75), ("x02", 9.375), ("x03", 9.375), ("B", 30.0)]),
            ("A X", &[("Y", 50.0), ("X", 0.0), ("Z", 0.0)]),
            ("A X Y", &[("Z", 50.0), ("B", 30.0), ("C", 20.0)]),
            ("A X Y Z", &[("B", 60.0), ("C", 40.0), ("A", 0.0)]),
            ("A B", &[("C", 20.0), ("X", 60.0), ("Y", 20.0), ("Z", 0.0)]),
            ("A B C", &[("X", 75.0), ("Y", 25.0), ("Z", 0.0), ("-", 0.0)]),
        ],
    );
}
