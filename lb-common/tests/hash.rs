//! The flow hash spreads real-looking flows as a random function would: over both halves, over
//! both levels jointly, and for every kind of regular input that clients produce.

use std::hash::Hasher;

use lb_common::{
    FlowHash, FlowKey, HashAlgorithm, HashKey,
    hash::{KEY_WORDS, mix},
};
use siphasher::sip::SipHasher13;

const FLOWS: u32 = 1 << 18;

fn key(seed: u64, algorithm: HashAlgorithm) -> HashKey {
    let mut words = [0; KEY_WORDS];
    for (i, word) in (0u64..).zip(&mut words) {
        *word = mix(mix(seed) ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
    }
    HashKey { words, algorithm: algorithm as u32, reserved: 0 }
}

const VIP: u32 = 0xc000_020a;

fn v4(source: u32, source_port: u32, port: u32) -> FlowKey {
    FlowKey::v4(source, VIP, source_port << 16 | port, 6)
}

/// A name, and its flow of each number.
type Input = (&'static str, fn(u32) -> FlowKey);

/// Ways in which clients' flows are regular. Each gives [`FLOWS`] different flows.
fn inputs() -> Vec<Input> {
    vec![
        ("one client, its ports in turn, four services", |i| v4(0xc633_6407, i >> 2, i & 3)),
        ("ports in steps of two", |i| v4(0xc633_6407 + (i >> 15), (i & 0x7fff) << 1, 80)),
        ("a client an address, the same port", |i| v4(0x0a00_0000 + i, 40_000, 443)),
        ("an address a /24", |i| v4(i << 8, 40_000, 443)),
        ("an address a /16, and its ports", |i| v4((i & 0xff) << 16, i >> 8, 443)),
        ("high bits only", |i| v4(i << 14, 1, 1)),
        ("random", |i| {
            let r = mix(u64::from(i));
            v4(r as u32, (r >> 32) as u32 & 0xffff, 443)
        }),
        ("ipv6, interface ids in turn", |i| {
            FlowKey::v6([0x2001_0db8, 0, 0, i], [0x2001_0db8, 0, 0, 10], 40_000 << 16 | 443, 6)
        }),
        ("ipv6, a client a /64", |i| {
            FlowKey::v6([0x2001_0db8, i, 0, 1], [0x2001_0db8, 0, 0, 10], 40_000 << 16 | 443, 6)
        }),
    ]
}

/// Chi-square of counts against evenness, as standard deviations above its mean. (Mean: degrees
/// of freedom n; variance: 2n.) Regular input may well come out more even than chance: no lower
/// bound.
fn excess(counts: &[u32]) -> f64 {
    let total: f64 = counts.iter().map(|&n| f64::from(n)).sum();
    let expected = total / counts.len() as f64;
    let chi: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

fn spread(bins: usize, bin: impl Fn(FlowHash) -> u32) {
    for algorithm in [HashAlgorithm::Multilinear, HashAlgorithm::SipHash] {
        for seed in 0..8 {
            let key = key(seed, algorithm);
            for (name, flow) in inputs() {
                let mut counts = vec![0; bins];
                for i in 0..FLOWS {
                    counts[bin(key.hash(&flow(i))) as usize] += 1;
                }
                let excess = excess(&counts);
                assert!(excess < 6.0, "{name}, {algorithm:?}, key {seed}: {excess:.1} sigma");
            }
        }
    }
}

#[test]
fn the_service_level_is_even() {
    spread(1 << 12, |hash| hash.service_slot(12));
}

#[test]
fn the_node_level_is_even() {
    spread(1 << 12, |hash| hash.node_slot(12));
}

#[test]
fn both_levels_are_even_jointly() {
    // 64 x 64: which service slot says nothing about which node slot.
    spread(1 << 12, |hash| hash.service_slot(6) << 6 | hash.node_slot(6));
}

#[test]
fn the_lowest_bits_of_each_half_are_even() {
    // Pin buckets and doubled tables go deeper than the top bits.
    spread(1 << 12, |hash| hash.0 as u32 & 0xfff);
    spread(1 << 12, |hash| (hash.0 >> 32) as u32 & 0xfff);
}

#[test]
fn doubling_a_table_splits_each_slot_in_two() {
    let key = key(1, HashAlgorithm::Multilinear);
    for i in 0..1000 {
        let hash = key.hash(&v4(i, i, 80));
        for log2 in 10..18 {
            assert_eq!(hash.service_slot(log2 + 1) >> 1, hash.service_slot(log2));
            assert_eq!(hash.node_slot(log2 + 1) >> 1, hash.node_slot(log2));
        }
    }
}

#[test]
fn every_field_of_a_flow_counts() {
    for algorithm in [HashAlgorithm::Multilinear, HashAlgorithm::SipHash] {
        let key = key(3, algorithm);
        let (source, destination, ports) = (1, 2, 3);
        let flow = FlowKey::v4(source, destination, ports, 6);
        let hash = key.hash(&flow).0;
        for bit in 0..32 {
            let flip = |word: u32| word ^ 1 << bit;
            for other in [
                FlowKey::v4(flip(source), destination, ports, 6),
                FlowKey::v4(source, flip(destination), ports, 6),
                FlowKey::v4(source, destination, flip(ports), 6),
                FlowKey::v4(source, destination, ports, 6 ^ 1 << (bit % 8)),
            ] {
                let differing = (key.hash(&other).0 ^ hash).count_ones();
                assert!((12..=52).contains(&differing), "{other:?}: {differing} bits differ");
            }
        }
    }
}

#[test]
fn siphash_is_siphash() {
    for seed in 0..100 {
        let key = key(seed, HashAlgorithm::SipHash);
        let (source, destination, ports) = (seed as u32, 0xc000_020a, 0x1234_0050);
        let flow = FlowKey::v4(source, destination, ports, 6);
        let mut sip = SipHasher13::new_with_keys(key.words[0], key.words[1]);
        for word in [source, destination, ports] {
            sip.write(&word.to_le_bytes());
        }
        sip.write(&[6]);
        assert_eq!(key.hash(&flow).0, sip.finish());

        let (source, destination) = ([seed as u32, 1, 2, 3], [4, 5, 6, 7]);
        let flow = FlowKey::v6(source, destination, ports, 17);
        let mut sip = SipHasher13::new_with_keys(key.words[0], key.words[1]);
        for word in source.into_iter().chain(destination).chain([ports]) {
            sip.write(&word.to_le_bytes());
        }
        sip.write(&[17]);
        assert_eq!(key.hash(&flow).0, sip.finish());
    }
}

/// The hash is chosen for good: tables of several load balancers and flows across an upgrade
/// depend on it. These values come from an independent computation and must never change.
#[test]
fn the_hash_is_frozen() {
    let key = key(42, HashAlgorithm::Multilinear);
    let flow = v4(0xc633_6407, 40_000, 443);
    assert_eq!(format!("{:016x}", key.hash(&flow).0), "ffa0a1a238cda64e");
    let flow = FlowKey::v6([0x2001_0db8, 1, 2, 3], [0x2001_0db8, 4, 5, 6], 40_000 << 16 | 443, 17);
    assert_eq!(format!("{:016x}", key.hash(&flow).0), "34d7736c712beffa");
}
