//! The flow hash: 64 keyed bits of a packet's 5-tuple, chosen once and for good.
//!
//! Default: multilinear hashing over 32-bit words with odd secret 64-bit multipliers, whose high
//! half is almost strongly universal (Lemire & Kaser, "Strongly universal string hashing is
//! fast", The Computer Journal 57(11), 2014), then a fixed 64-bit finaliser (SplitMix64's,
//! Steele, Lea & Flood, OOPSLA 2014, with Stafford's constants), which spreads what regular
//! inputs leave regular and makes both halves usable. It resists whoever cannot see which node
//! answers. For more: SipHash-1-3 (Aumasson & Bernstein, 2012), about 10 ns dearer.
//!
//! The service slot is the top of the high half, the node slot the top of the low half: doubling
//! a table splits each slot in two.

/// Which function a [`HashKey`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum HashAlgorithm {
    /// Multilinear with a finaliser.
    #[default]
    Multilinear = 0,
    /// SipHash-1-3.
    SipHash = 1,
}

/// Words of key.
pub const KEY_WORDS: usize = 12;
// Which key word goes with which message word.
const PORTS: usize = 9;
const PROTOCOL: usize = 10;
const IPV4: usize = 11;

/// The expanded secret. Map `SECRET`, one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct HashKey {
    /// Key words. For the multilinear hash word 0 is added, the others are odd multipliers; for
    /// SipHash words 0 and 1 are its key.
    pub words: [u64; KEY_WORDS],
    /// A [`HashAlgorithm`].
    pub algorithm: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<HashKey>() == KEY_WORDS * 8 + 8);

/// The fields of a packet that make its flow. Numbers in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Source address, as four words, IPv4 as `::ffff:a.b.c.d`.
    pub source: [u32; 4],
    /// Destination address, as the source.
    pub destination: [u32; 4],
    /// Source port in the high half, destination port in the low half.
    pub ports: u32,
    /// IP protocol number; of IPv6 what follows the extensions.
    pub protocol: u8,
    /// Whether it is IPv6.
    pub v6: bool,
}

impl FlowKey {
    /// A flow of IPv4.
    #[inline(always)]
    pub const fn v4(source: u32, destination: u32, ports: u32, protocol: u8) -> Self {
        let (source, destination) = ([0, 0, 0xffff, source], [0, 0, 0xffff, destination]);
        Self { source, destination, ports, protocol, v6: false }
    }

    /// A flow of IPv6.
    #[inline(always)]
    pub const fn v6(source: [u32; 4], destination: [u32; 4], ports: u32, protocol: u8) -> Self {
        Self { source, destination, ports, protocol, v6: true }
    }
}

/// The 64 bits, and the slots that they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowHash(pub u64);

impl FlowHash {
    /// Slot in a service's table of 2^log2 slots (1..=32).
    #[inline(always)]
    pub const fn service_slot(self, log2: u32) -> u32 {
        top_bits((self.0 >> 32) as u32, log2)
    }

    /// Slot in a cluster's table of 2^log2 slots (1..=32).
    #[inline(always)]
    pub const fn node_slot(self, log2: u32) -> u32 {
        top_bits(self.0 as u32, log2)
    }

    /// All of it in 16 bits.
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        let half = self.0 ^ self.0 >> 32;
        (half ^ half >> 16) as u16
    }
}

#[inline(always)]
const fn top_bits(half: u32, log2: u32) -> u32 {
    // A masked shift: the amount is 0..=31 whatever a table says, and the verifier can see it.
    half >> (32u32.wrapping_sub(log2) & 31)
}

impl HashKey {
    /// Hash of a flow.
    #[inline(always)]
    pub fn hash(&self, flow: &FlowKey) -> FlowHash {
        FlowHash(if self.algorithm == HashAlgorithm::SipHash as u32 {
            self.siphash(flow)
        } else {
            self.multilinear(flow)
        })
    }

    #[inline(always)]
    fn multilinear(&self, flow: &FlowKey) -> u64 {
        let k = &self.words;
        let term = |word: u32, key: usize| u64::from(word).wrapping_mul(k[key]);
        let &FlowKey { source: s, destination: d, ports, protocol, v6 } = flow;
        let both = term(ports, PORTS).wrapping_add(term(u32::from(protocol), PROTOCOL));
        let sum = if v6 {
            term(s[0], 1)
                .wrapping_add(term(s[1], 2))
                .wrapping_add(term(s[2], 3))
                .wrapping_add(term(s[3], 4))
                .wrapping_add(term(d[0], 5))
                .wrapping_add(term(d[1], 6))
                .wrapping_add(term(d[2], 7))
                .wrapping_add(term(d[3], 8))
                .wrapping_add(both)
        } else {
            term(s[3], 1).wrapping_add(term(d[3], 2)).wrapping_add(both).wrapping_add(k[IPV4])
        };
        mix(sum.wrapping_add(k[0]))
    }

    #[inline(always)]
    fn siphash(&self, flow: &FlowKey) -> u64 {
        let mut sip = Sip::new(self.words[0], self.words[1]);
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let &FlowKey { source: s, destination: d, ports, protocol, v6 } = flow;
        let length = if v6 {
            sip.word(pair(s[0], s[1]));
            sip.word(pair(s[2], s[3]));
            sip.word(pair(d[0], d[1]));
            sip.word(pair(d[2], d[3]));
            37
        } else {
            sip.word(pair(s[3], d[3]));
            13
        };
        sip.word(pair(ports, u32::from(protocol)) | length << 56);
        sip.finish()
    }
}

/// SplitMix64's finaliser: a bijection of 64 bits in which every input bit reaches every output
/// bit. Public, keyless: tables use it too.
#[inline(always)]
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// SipHash with one round a word and three at the end.
struct Sip([u64; 4]);

impl Sip {
    #[inline(always)]
    fn new(k0: u64, k1: u64) -> Self {
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }
}
