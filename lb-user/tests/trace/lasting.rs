//! What lasts from line to line, and what `--down` changes.

use std::{collections::BTreeSet, time::Instant};

use crate::{
    frames::{CLIENT, CLIENT6, L2, fragments, octets, tcp, udp},
    trace,
};

#[test]
fn fragments_follow_the_first_and_do_not_go_before_it() {
    let whole = udp((CLIENT, 4000), ("192.0.2.10", 53), 64);
    let [first, later] = fragments(&whole, 32);
    let lines = trace(&[], &[later.clone(), first, later.clone()]);
    assert_eq!(lines[0].end(), ("drop", "drop_fragment"));
    assert_eq!(lines[0].bytes(), later);
    assert_eq!(lines[1].end(), ("tx", "forward_tx"));
    let ["direct-udp", "direct", node] = lines[1].whose() else { panic!("{:?}", lines[1]) };
    assert_eq!(lines[2].end(), ("tx", "forward_fragment"));
    assert_eq!(lines[2].whose(), ["-", "direct", node]);
    assert_eq!(lines[2].bytes()[..6], lines[1].bytes()[..6]);
    assert_eq!(lines[2].bytes()[12..], later[12..]);
    // Another run knows nothing of it.
    assert_eq!(trace(&[], &[later])[0].end(), ("drop", "drop_fragment"));
}

#[test]
fn senders_are_told_of_what_does_not_fit_a_tunnel_but_not_more_than_a_thousand_a_second() {
    const FRAMES: usize = 3000;
    let mut big = udp((CLIENT6, 4000), ("2001:db8::11", 80), 1500);
    // TCP as far as the tables look.
    big[L2 + 6] = 6;
    big[L2 + 40 + 12] = 0x50;
    let began = Instant::now();
    let lines = trace(&[], &vec![big; FRAMES]);
    let seconds = began.elapsed().as_secs() as usize;
    assert_eq!(lines[0].end(), ("tx", "answer_too_big"));
    assert_eq!(lines[0].whose(), ["6in4", "tunnel4", "t1"]);
    let answer = lines[0].bytes();
    let (source, destination) = (&answer[L2 + 8..L2 + 24], &answer[L2 + 24..L2 + 40]);
    assert_eq!((source, destination), (&octets("2001:db8::11")[..], &octets(CLIENT6)[..]));
    // Packet too big, of 1,480 bytes.
    assert_eq!((answer[L2 + 40], &answer[L2 + 44..L2 + 48]), (2, &1480u32.to_be_bytes()[..]));
    let told = lines.iter().filter(|line| line.end() == ("tx", "answer_too_big")).count();
    let silent = lines.iter().filter(|line| line.end() == ("drop", "drop_too_big_silent")).count();
    assert_eq!(told + silent, FRAMES);
    // The clock's seconds that the run may have touched, and a thousand in each.
    assert!(told >= 1000 && told <= 1000 * (seconds + 2), "{told} told in {seconds} s");
}

#[test]
fn only_the_flows_of_a_node_that_is_down_move() {
    let flow = |port| tcp((CLIENT, port), ("192.0.2.10", 80));
    let frames: Vec<_> = (40_000..40_100).map(flow).collect();
    let (up, down) = (trace(&[], &frames), trace(&["--down", "direct/d1"], &frames));
    let mut seen = BTreeSet::new();
    for (up, down) in up.iter().zip(&down) {
        assert_eq!((up.end(), down.end()), (("tx", "forward_tx"), ("tx", "forward_tx")));
        seen.insert(up.whose()[2]);
        assert_eq!(down.whose(), ["direct", "direct", "d2"]);
        assert_eq!(down.bytes()[..6], [2, 0, 0, 0, 1, 2]);
        let moved = up.whose()[2] == "d1";
        assert_eq!(up.bytes() != down.bytes(), moved);
    }
    assert_eq!(seen, BTreeSet::from(["d1", "d2"]));
    let none = &trace(&["--down-cluster", "direct"], &frames[..1])[0];
    assert_eq!((none.end(), none.whose()), (("drop", "drop_no_cluster"), ["direct", "-", "-"]));
}
