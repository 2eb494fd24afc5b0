//! The properties that everything else rests on: fair shares, and nothing moves that need not.

use super::*;

/// A tier of members with these weights, homes and carriers alike, as a cluster's nodes are.
fn tier(weights: &[u32]) -> OrderSpec {
    let shares: Vec<Share> =
        weights.iter().enumerate().map(|(i, &weight)| Share { member: i as u16, weight }).collect();
    let keys: Vec<u64> = (0..weights.len()).map(|i| node_key("C", &format!("n{i}"))).collect();
    OrderSpec { members: keys.len(), keys, home: shares.clone(), stages: vec![shares] }
}

fn equal(members: usize) -> Vec<u32> {
    vec![1; members]
}

fn one_to_ten(members: usize) -> Vec<u32> {
    (0..members as u32).map(|i| i * 7 % 10 + 1).collect()
}

/// A fixed sequence of numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        chain(self.0, 77) % end
    }
}

fn all(members: usize) -> Bits {
    Bits::of(members, |_| true)
}

/// The greatest difference of a member's part of the slots from its part of the weights, in
/// points.
fn worst_error(order: &Order, weights: &[u32], eligible: &Bits) -> f64 {
    let owners = order.owners(eligible);
    let total: u32 = eligible.iter().map(|i| weights[usize::from(i)]).sum();
    let mut counts = vec![0u32; weights.len()];
    for owner in &owners {
        assert!(eligible.contains(*owner), "an owner that may not serve");
        counts[usize::from(*owner)] += 1;
    }
    let error = |i: u16| {
        let due = f64::from(weights[usize::from(i)]) / f64::from(total);
        (f64::from(counts[usize::from(i)]) / owners.len() as f64 - due).abs()
    };
    100.0 * eligible.iter().map(error).fold(0.0, f64::max)
}

#[test]
fn quotas_round_the_largest_remainders_up() {
    let quotas = |weights: &[u32], size| super::quotas(&tier(weights).home, size);
    assert_eq!(quotas(&[1, 1, 1], 1024), [342, 341, 341]);
    assert_eq!(quotas(&[5, 3, 2], 4096), [2048, 1229, 819]);
    assert_eq!(quotas(&[4, 3, 2, 1], 2048), [819, 614, 410, 205]);
    assert_eq!(quotas(&[1, u32::MAX], 1024), [0, 1024]);
}

#[test]
fn table_sizes() {
    let sizes = [0, 1, 2, 3, 6, 20, 32, 200, 512, 4096].map(table_log2);
    assert_eq!(sizes, [10, 10, 10, 11, 12, 14, 14, 17, 18, 18]);
}

#[test]
fn homes_are_shared_to_the_slot() {
    for weights in [equal(1), equal(7), one_to_ten(12), vec![1000, 1, 0, 3]] {
        let spec = tier(&weights);
        let order = Order::new(&spec);
        let mut due = vec![0; weights.len()];
        let weighty: Vec<Share> = spec.home.iter().copied().filter(|s| s.weight > 0).collect();
        let mut by_key = weighty.clone();
        by_key.sort_by_key(|share| spec.keys[usize::from(share.member)]);
        for (share, quota) in by_key.iter().zip(super::quotas(&by_key, order.home.len() as u32)) {
            due[usize::from(share.member)] = quota;
        }
        let mut counts = vec![0; weights.len()];
        order.home.iter().for_each(|&home| counts[usize::from(home)] += 1);
        assert_eq!(counts, due, "{weights:?}");
    }
}

/// A choice from every set that no pair of sets contradicts is the choice of the first in a fixed
/// order: so this proves the order, for every slot, and that no change moves a slot in vain.
#[test]
fn no_pair_of_healths_moves_a_slot_in_vain() {
    let tiers = |weights: &[u32], cut: usize| {
        let spec = tier(weights);
        let (home, rest) = spec.home.split_at(cut);
        let stages = vec![rest[..2].to_vec(), rest[2..].to_vec(), home.to_vec()];
        OrderSpec { home: home.to_vec(), stages, ..spec.clone() }
    };
    for spec in [tier(&equal(6)), tier(&one_to_ten(6)), tiers(&one_to_ten(6), 3)] {
        let order = Order::new(&spec);
        let sets: Vec<Bits> = (0..64u32).map(|set| Bits::of(6, |i| set >> i & 1 == 1)).collect();
        let owners: Vec<Vec<u16>> = sets.iter().map(|set| order.owners(set)).collect();
        for (a, owners_a) in sets.iter().zip(&owners) {
            for (b, owners_b) in sets.iter().zip(&owners) {
                let in_vain = |(&x, &y): (&u16, &u16)| {
                    x != y && (x == NOBODY || b.contains(x)) && (y == NOBODY || a.contains(y))
                };
                assert!(!owners_a.iter().zip(owners_b).any(in_vain), "{a:?} {b:?}");
            }
        }
    }
}

#[test]
fn no_walk_of_health_moves_a_slot_in_vain() {
    let mut dice = Dice(1);
    for (members, steps) in [(13, 60), (20, 60), (33, 40), (100, 20)] {
        let order = Order::new(&tier(&one_to_ten(members)));
        let mut alive = vec![true; members];
        let mut before = (all(members), order.owners(&all(members)));
        let first = before.1.clone();
        for _ in 0..steps {
            for _ in 0..1 + dice.below(3) {
                let i = dice.below(members as u64) as usize;
                alive[i] = !alive[i] || dice.below(3) == 0;
            }
            let eligible = Bits::of(members, |i| alive[i]);
            let owners = order.owners(&eligible);
            for (slot, (&x, &y)) in before.1.iter().zip(&owners).enumerate() {
                let in_vain = x != y && eligible.contains(x) && before.0.contains(y);
                assert!(!in_vain, "slot {slot}: {x} to {y}");
            }
            before = (eligible, owners);
        }
        assert_eq!(order.owners(&all(members)), first, "all come back");
    }
}

/// A tier of 40, dealt and probed, and one of 5 behind it.
#[test]
fn a_large_tier_hands_on_to_the_next() {
    let weights = one_to_ten(45);
    let spec = tier(&weights);
    let (first, second) = spec.home.split_at(40);
    let (first, second) = (first.to_vec(), second.to_vec());
    let order = Order::new(&OrderSpec { home: first.clone(), stages: vec![first, second], ..spec });
    let sets = [
        Bits::of(45, |i| i == 7 || i >= 40),
        Bits::of(45, |i| i >= 40),
        Bits::of(45, |i| i == 7 || i == 9 || i == 44),
        Bits::of(45, |i| i == 41 || i == 44),
        Bits::of(45, |i| i > 20),
        Bits::of(45, |i| i == 43),
    ];
    for set in &sets {
        let best = if set.iter().any(|i| i < 40) { 0..40 } else { 40..45 };
        let serving = Bits::of(45, |i| set.contains(i as u16) && best.contains(&i));
        let owners = order.owners(set);
        assert!(owners.iter().all(|&owner| serving.contains(owner)), "{set:?}");
        let total: u32 = serving.iter().map(|i| weights[usize::from(i)]).sum();
        for i in serving.iter() {
            let count = owners.iter().filter(|&&owner| owner == i).count();
            let due = f64::from(weights[usize::from(i)]) / f64::from(total);
            let error = 100.0 * (count as f64 / owners.len() as f64 - due).abs();
            assert!(error <= 1.5, "{set:?}: member {i}: {error} points");
        }
        for other in &sets {
            let moves = owners.iter().zip(order.owners(other));
            let in_vain = |(&x, y): (&u16, u16)| x != y && other.contains(x) && set.contains(y);
            assert!(!moves.into_iter().any(in_vain), "{set:?} {other:?}");
        }
    }
}

#[test]
fn shares_of_every_health_of_few_members() {
    let mut worst: f64 = 0.0;
    let most = if cfg!(debug_assertions) { 8 } else { 12 };
    for members in [1, 2, 3, 5, 8, 10, 12].into_iter().filter(|&members| members <= most) {
        for weights in [equal(members), one_to_ten(members)] {
            let order = Order::new(&tier(&weights));
            for set in 1..1u32 << members {
                let eligible = Bits::of(members, |i| set >> i & 1 == 1);
                let error = worst_error(&order, &weights, &eligible);
                assert!(error <= 0.5, "{error} points: {weights:?} {eligible:?}");
                worst = worst.max(error);
            }
        }
    }
    println!("worst error of every health of up to {most} members: {worst:.2} points");
}

#[test]
fn shares_of_some_healths_of_many_members() {
    let mut dice = Dice(2);
    for members in [11, 12, 16, 20, 32, 33, 64, 128] {
        for weights in [equal(members), one_to_ten(members)] {
            let order = Order::new(&tier(&weights));
            let (mut half, mut less): (f64, f64) = (0.0, 0.0);
            for _ in 0..if members < 20 { 60 } else { 12 } {
                let dead = dice.below(members as u64);
                let mut dies: Vec<bool> = vec![false; members];
                for _ in 0..dead {
                    dies[dice.below(members as u64) as usize] = true;
                }
                let eligible = Bits::of(members, |i| !dies[i]);
                let error = worst_error(&order, &weights, &eligible);
                let bound = match members <= 12 || 2 * eligible.len() >= members {
                    true => (&mut half, 0.5),
                    false => (&mut less, 1.5),
                };
                assert!(error <= bound.1, "{error} points: {weights:?} {eligible:?}");
                *bound.0 = bound.0.max(error);
            }
            println!("{members} members: {half:.2} points, {less:.2} with fewer than half");
        }
    }
}

#[test]
fn orders_depend_on_keys_and_not_on_positions() {
    let weights = one_to_ten(40);
    let spec = tier(&weights);
    let turned = |member: usize| (member * 7 + 3) % 40;
    let mut other = spec.clone();
    for share in spec.home.iter().copied() {
        let to = turned(share.member.into());
        other.keys[to] = spec.keys[usize::from(share.member)];
        other.home[39 - to] = Share { member: to as u16, ..share };
    }
    other.stages = vec![other.home.clone()];
    let (order, other) = (Order::new(&spec), Order::new(&other));
    let dead = Bits::of(40, |i| i % 3 > 0);
    let dead_turned = Bits::of(40, |to| (0..40).any(|i| turned(i) == to && i % 3 > 0));
    let names = |owners: Vec<u16>| owners.into_iter().map(usize::from).collect::<Vec<_>>();
    let mine: Vec<usize> = names(order.owners(&dead)).into_iter().map(turned).collect();
    assert_eq!(mine, names(other.owners(&dead_turned)));
}

#[test]
fn a_path_lists_who_is_asked() {
    let mut spec = tier(&one_to_ten(9));
    spec.home.truncate(4);
    let order = Order::new(&spec);
    let eligible = Bits::of(9, |i| i == 5 || i == 8);
    let owners = order.owners(&eligible);
    let nobody = Bits::none(9);
    for slot in (0..order.home.len()).step_by(301) {
        let path = order.path(slot as u32, &eligible);
        assert_eq!(path[0], order.home[slot]);
        assert_eq!(path.last(), Some(&owners[slot]));
        assert!(path[..path.len() - 1].iter().all(|&member| !eligible.contains(member)));
        let whole = order.path(slot as u32, &nobody);
        assert!(whole.starts_with(&path) && whole.len() == 9, "{whole:?} {path:?}");
    }
}

/// Slots that a change of the configuration moves beyond those that it must move.
#[test]
fn a_change_of_the_configuration_moves_little_more_than_it_must() {
    let home = |weights: &[u32], log2| maglev::table(&tier(weights).keys, &by_key(weights), log2);
    fn by_key(weights: &[u32]) -> Vec<Share> {
        let spec = tier(weights);
        let mut shares = spec.home.clone();
        shares.sort_by_key(|share| spec.keys[usize::from(share.member)]);
        shares
    }
    for (log2, bound) in [(12, 2.0), (16, 0.5)] {
        let before = home(&equal(10), log2);
        let size = before.len();
        let moved = |after: &[u16]| before.iter().zip(after).filter(|(a, b)| a != b).count();
        let mut reweighted = equal(10);
        reweighted[3] = 2;
        // What must move: the new member's slots; what the heavier member gains, 1/11 more.
        for (name, after, least) in [
            ("add", home(&equal(11), log2), size / 11),
            ("re-weight", home(&reweighted, log2), size * 2 / 11 - size / 10),
        ] {
            let extra = 100.0 * (moved(&after) - least) as f64 / size as f64;
            println!("{name}, 10 members, {size} slots: {extra:.2} % extra");
            assert!(extra <= bound, "{name}: {extra} % of {size} slots");
        }
    }
}

/// Printed, not judged: `cargo test --release -p lb-user speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    for (members, dead) in
        [(20, 0), (20, 1), (20, 2), (20, 10), (20, 15), (20, 18), (32, 16), (256, 128)]
    {
        let order = Order::new(&tier(&equal(members)));
        let eligible = Bits::of(members, |i| i >= dead);
        let start = std::time::Instant::now();
        let rounds = 10;
        (0..rounds).for_each(|_| drop(std::hint::black_box(order.owners(&eligible))));
        println!("{dead} of {members} dead: {:?}", start.elapsed() / rounds);
    }
    let start = std::time::Instant::now();
    drop(std::hint::black_box(Order::new(&tier(&one_to_ten(20)))));
    println!("order of 20 members: {:?}", start.elapsed());
}
