//! What the packet's way finds in the tables, against a search through the list.

use lb_common::{ServiceId, VipKey, hash::mix, layout::MAX_SERVICES};
use lb_ebpf::{
    Book,
    classify::{self, Address},
};

use super::*;
use crate::{
    dataplane::{memory::Memory, writer::Writer},
    decide::{Table, intent::MOST_OWN},
};

/// A stream of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % bound
    }

    /// Few addresses close together, with many services each, or any.
    fn address(&mut self, few: bool) -> [u32; 4] {
        match (few, self.below(2)) {
            (true, 0) => [0, 0, 0xffff, 0xc000_0200 | self.below(4) as u32],
            (true, _) => [0x2001_0db8, 0, 0, self.below(4) as u32],
            (false, _) => [0, 0, 0xffff, self.below(1 << 32) as u32],
        }
    }

    fn protocol(&mut self) -> u8 {
        if self.below(2) == 0 { 6 } else { 17 }
    }
}

/// As many destinations as there may be, none twice, no ranges that overlap.
fn full_set(numbers: &mut Numbers) -> Vec<Vip> {
    let few = numbers.below(2) == 0;
    let mut vips: Vec<Vip> = Vec::new();
    while vips.len() < MAX_SERVICES as usize {
        let first = 1 + numbers.below(2000) as u16;
        let ports = match numbers.below(4) {
            0 => Ports::Range { first, last: first + 1 + numbers.below(20) as u16 },
            1 => Ports::All,
            _ => Ports::One(first),
        };
        let service = ServiceId::new(vips.len()).expect("an id");
        let (address, protocol) = (numbers.address(few), numbers.protocol());
        let vip = Vip { address, ports, protocol, service };
        let clash = |other: &Vip| {
            let ranges = matches!((ports, other.ports), (Ports::Range { .. }, Ports::Range { .. }));
            (other.address, other.protocol) == (address, protocol)
                && (other.ports == ports || ranges && other.ports.overlaps(ports))
        };
        if !vips.iter().any(clash) {
            vips.push(vip);
        }
    }
    vips
}

fn in_memory(vips: &[Vip], own: Vec<[u32; 4]>) -> (Memory, u64) {
    let table = Table { slots: vec![lb_common::Slot::NONE; 1024].into(), ..Table::default() };
    let services = (0..vips.len()).map(|i| Table { healthy: i % 3 == 0, ..table.clone() });
    let intent = Intent {
        vips: vips.to_vec(),
        replies: vips.to_vec(),
        own,
        addresses: vec![[0; 4]; vips.len()],
        services: services.collect(),
        ..Intent::default()
    };
    let memory = Memory::anonymous().expect("memory");
    let epoch = Writer::adopt(&memory).commit(&memory, &intent).expect("a half-full table");
    (memory, epoch)
}

/// The rule in other words: exact, then a range, then all.
fn by_hand(vips: &[Vip], key: &VipKey) -> Option<ServiceId> {
    let here = |vip: &&Vip| (vip.address, vip.protocol) == (key.address, key.protocol);
    let find = |fits: &dyn Fn(Ports) -> bool| vips.iter().filter(here).find(|v| fits(v.ports));
    let found = find(&|ports| ports == Ports::One(key.port))
        .or_else(|| find(&|p| matches!(p, Ports::Range { .. }) && p.contains(key.port)))
        .or_else(|| find(&|ports| ports == Ports::All));
    found.map(|vip| vip.service)
}

#[test]
fn what_is_found_is_what_the_list_says() {
    let mut numbers = Numbers(1);
    let (mut hits, mut misses) = (0, 0);
    for _ in 0..40 {
        let vips = full_set(&mut numbers);
        let (memory, epoch) = in_memory(&vips, Vec::new());
        for _ in 0..4000 {
            let known = vips[numbers.below(vips.len() as u64) as usize];
            let address = if numbers.below(8) == 0 { numbers.address(true) } else { known.address };
            let port = match numbers.below(3) {
                0 => numbers.below(2050) as u16,
                1 => known.ports.first(),
                _ => known.ports.last(),
            };
            let key = VipKey { address, port, protocol: numbers.protocol() };
            let expected = by_hand(&vips, &key);
            for book in [Book::Services, Book::Nodes] {
                let found = classify::service(&memory, book, epoch, &key);
                assert_eq!(found, Ok(expected), "{book:?} {key:?}");
                let maybe = classify::maybe(&memory, book, epoch, address);
                assert!(maybe == Ok(true) || expected.is_none(), "{book:?} {key:?}");
            }
            *(if expected.is_some() { &mut hits } else { &mut misses }) += 1;
        }
    }
    assert!(hits > 10_000 && misses > 10_000, "{hits} hits, {misses} misses");
}

#[test]
fn an_address_is_alive_with_any_of_its_services_and_own_ones_are_no_vips() {
    let one = |last: u32, port, service| Vip {
        address: [0, 0, 0xffff, last],
        ports: Ports::One(port),
        protocol: 6,
        service: ServiceId::new(service).expect("an id"),
    };
    // Services 0 and 3 have somebody to send to.
    let vips = [one(1, 80, 0), one(1, 81, 1), one(2, 80, 2), one(3, 80, 3)];
    let of = |last| [0, 0, 0xffff, last];
    let (memory, epoch) = in_memory(&vips, vec![of(3), of(9)]);
    let is = |last| classify::address(&memory, epoch, of(last)).expect("a table");
    assert_eq!(is(1), Address::Vip { alive: true });
    assert_eq!(is(2), Address::Vip { alive: false });
    assert_eq!(is(3), Address::Vip { alive: true }, "a service's, although this host has it");
    assert_eq!(is(9), Address::Own);
    assert_eq!(is(4), Address::Foreign);
    let key = VipKey { address: of(9), port: 80, protocol: 6 };
    assert_eq!(classify::service(&memory, Book::Services, epoch, &key), Ok(None));
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let mut intent = Intent { vips: full_set(&mut Numbers(3)), ..Intent::default() };
    let one = services(&intent).expect("a table");
    intent.vips.reverse();
    assert_eq!(services(&intent), Ok(one));
}

#[test]
fn as_many_own_addresses_as_are_told_fit_beside_all_services() {
    let mut numbers = Numbers(5);
    for _ in 0..20 {
        let vips = full_set(&mut numbers);
        let own = std::iter::repeat_with(|| numbers.address(false)).take(MOST_OWN);
        let own: Vec<[u32; 4]> = own.collect();
        let (memory, epoch) = in_memory(&vips, own.clone());
        for address in own {
            let is = classify::address(&memory, epoch, address);
            let vip = vips.iter().any(|vip| vip.address == address);
            assert!(vip || is == Ok(Address::Own), "{address:?}: {is:?}");
        }
    }
}

#[test]
fn own_addresses_without_a_place_are_left_out_and_no_service_is() {
    // More with one starting place than a search may try.
    let together = (0..).map(|last| [0, 0, 0xffff, last]);
    let mut together = together.filter(|own| VipKey::of_address(*own).place(VIP_PLACES) == 77);
    let (vips, own): (Vec<[u32; 4]>, Vec<[u32; 4]>) =
        (together.by_ref().take(3).collect(), together.take(20).collect());
    let one = |(address, service)| Vip { address, ports: Ports::One(80), protocol: 6, service };
    let vips: Vec<Vip> = vips.into_iter().zip((0..).filter_map(ServiceId::new)).map(one).collect();
    let (memory, epoch) = in_memory(&vips, own.clone());
    for vip in &vips {
        let key = VipKey { address: vip.address, port: 80, protocol: 6 };
        let found = classify::service(&memory, Book::Services, epoch, &key);
        assert_eq!(found, Ok(Some(vip.service)));
        let is = classify::address(&memory, epoch, vip.address);
        assert!(matches!(is, Ok(Address::Vip { .. })), "{is:?}");
    }
    let is_told = |own: &[u32; 4]| classify::address(&memory, epoch, *own) == Ok(Address::Own);
    let told = own.iter().take_while(|own| is_told(own)).count();
    assert!((1..=MAX_PROBES as usize - vips.len()).contains(&told), "{told}");
    assert!(!own[told..].iter().any(is_told), "the last ones are left out");
}

#[test]
fn a_set_that_does_not_fit_is_refused() {
    // More keys with one starting place than a search may try.
    let keys = (0..).flat_map(|last| {
        let address = [0, 0, 0xffff, last];
        (1..=u16::MAX).map(move |port| VipKey { address, port, protocol: 6 })
    });
    let vips: Vec<Vip> = keys
        .filter(|key| key.place(VIP_PLACES) == 77)
        .take(MAX_PROBES as usize + 1)
        .zip((0..).filter_map(ServiceId::new))
        .map(|(VipKey { address, port, protocol }, service)| Vip {
            address,
            ports: Ports::One(port),
            protocol,
            service,
        })
        .collect();
    let of = |vips: &[Vip]| services(&Intent { vips: vips.to_vec(), ..Intent::default() });
    assert!(of(&vips[2..]).is_ok());
    assert!(of(&vips).is_err());
}
