//! Makes frames from frames: flipped bits, fields with values that matter, pieces of two, cut off,
//! longer, with more or fewer tags, and sequences of them.

use super::{
    places::{self, CLIENT, DEAD, FAMILIES, Family, NOBODY, OTHER, OWN, SERVED},
    random::Numbers,
    to::To,
};

/// Longer frames are not made of shorter ones.
const LONGEST: usize = 9100;
/// 16-bit values that are at the edge of something.
const EDGES: [u16; 24] = [
    0, 1, 4, 5, 7, 8, 19, 20, 21, 39, 40, 60, 0x0fff, 0x1fff, 0x2000, 0x4000, 0x6000, 0x7fff,
    0x8000, 0x8100, 0x88a8, 0x86dd, 0xffd7, 0xffff,
];
/// Bytes that are a protocol, a next header, a type of message or a first byte.
const BYTES: [u8; 28] = [
    0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 17, 41, 43, 44, 50, 51, 58, 59, 60, 128, 129, 132, 0x44, 0x45,
    0x4f, 0x60, 0x65, 0xff,
];

/// Makes frames from sequences of them.
pub(super) struct Mutator {
    sequences: Vec<Vec<Vec<u8>>>,
    addresses: Vec<Vec<u8>>,
}

impl Mutator {
    /// From these.
    pub(super) fn new(sequences: Vec<Vec<Vec<u8>>>) -> Self {
        let places = [CLIENT, SERVED, OTHER, DEAD, OWN, NOBODY];
        let known = FAMILIES.iter().flat_map(|&f| places.map(|place| place.of(f)));
        let nodes = [To::Nat4, To::Nat6, To::NatRange4, To::NatSame6].map(To::address);
        let octets = |address| match address {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        // IPv4's in IPv6.
        let mapped = [CLIENT.of(Family::V4), SERVED.of(Family::V4), To::Nat4.address()];
        let mapped = mapped.map(|address| places::octets(address).to_vec());
        Self { sequences, addresses: known.chain(nodes).map(octets).chain(mapped).collect() }
    }

    /// Frames of the cases as they are, of one whose first is to the port of somebody's services.
    pub(super) fn to(&self, numbers: &mut Numbers, to: To) -> Vec<Vec<u8>> {
        let port = to.port().to_be_bytes();
        let is_to =
            |frame: &Vec<u8>| [36, 56].iter().any(|&at| frame.get(at..at + 2) == Some(&port));
        loop {
            let frames = &self.sequences[numbers.below(self.sequences.len())];
            if frames.first().is_some_and(is_to) {
                return frames.clone();
            }
        }
    }

    /// Some frames one after the other.
    pub(super) fn sequence(&self, numbers: &mut Numbers) -> Vec<Vec<u8>> {
        let mut frames = self.sequences[numbers.below(self.sequences.len())].clone();
        if numbers.below(4) == 0 {
            frames.extend(self.sequences[numbers.below(self.sequences.len())].clone());
        }
        if frames.len() > 1 && numbers.below(3) == 0 {
            let (a, b) = (numbers.below(frames.len()), numbers.below(frames.len()));
            frames.swap(a, b);
        }
        for frame in &mut frames {
            // Some are as they were.
            for _ in 0..numbers.below(5) {
                self.mutate(frame, numbers);
            }
        }
        frames
    }

    fn mutate(&self, frame: &mut Vec<u8>, numbers: &mut Numbers) {
        // Headers stand in front, and most matters there.
        let span = if numbers.below(4) == 0 { frame.len() } else { frame.len().min(130) };
        let at = numbers.below(span);
        match numbers.below(12) {
            0 | 1 => frame[at] ^= 1 << numbers.below(8),
            2 => frame[at] = numbers.next() as u8,
            3 | 4 => frame[at] = BYTES[numbers.below(BYTES.len())],
            5 | 6 => {
                let value = match numbers.below(3) {
                    0 => numbers.next() as u16,
                    // Around what is true.
                    1 => {
                        (frame.len() as u16).wrapping_add(8).wrapping_sub(numbers.below(80) as u16)
                    }
                    _ => EDGES[numbers.below(EDGES.len())],
                };
                put(frame, at & !1, &value.to_be_bytes());
            }
            7 => {
                let address = &self.addresses[numbers.below(self.addresses.len())];
                let tags = 4 * numbers.below(3);
                let places = if address.len() == 4 { [26, 30, 54, 58] } else { [22, 38, 70, 86] };
                put(frame, places[numbers.below(4)] + tags, address);
            }
            8 => {
                let longest = frame.len();
                frame.truncate(14.max(longest - numbers.below(longest.min(64))));
            }
            9 => frame.extend((0..numbers.below(80)).map(|n| n as u8)),
            10 => self.tags(frame, numbers),
            _ => self.splice(frame, at, numbers),
        }
        if frame.len() > LONGEST {
            frame.truncate(LONGEST);
        }
    }

    /// One VLAN tag more, or one less.
    fn tags(&self, frame: &mut Vec<u8>, numbers: &mut Numbers) {
        if numbers.below(2) == 0 || frame.len() < 18 {
            let kind = if numbers.below(2) == 0 { [0x81, 0] } else { [0x88, 0xa8] };
            let id = (numbers.next() as u16).to_be_bytes();
            frame.splice(12..12, [kind[0], kind[1], id[0], id[1]]);
        } else {
            frame.drain(12..16);
        }
    }

    /// The rest of another frame, from the same place or from some other.
    fn splice(&self, frame: &mut Vec<u8>, at: usize, numbers: &mut Numbers) {
        let others = &self.sequences[numbers.below(self.sequences.len())];
        let other = &others[numbers.below(others.len())];
        let from = if numbers.below(2) == 0 { at } else { numbers.below(other.len()) };
        let at = at.max(14);
        frame.truncate(at);
        frame.extend(&other[from.min(other.len())..]);
        if frame.len() < 14 {
            frame.resize(14, 0);
        }
    }
}

/// Overwrites what is there, as far as the frame goes.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in frame.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}
