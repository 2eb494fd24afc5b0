use proptest::prelude::*;

use super::*;

fn key() -> Key {
    Key::from(&SurveyKey(std::array::from_fn(|i| i as u8)))
}

fn record(number: u32, port: u16, survival: bool) -> Record {
    Record { server: Server { number, port }, survival }
}

const NONCE: Nonce = Nonce { instance: 0x0102_0304_0506_0708, round: 9 };

// The vectors were computed with Python's `struct`, `hmac` and `hashlib`; key 00 01 02 … 1f.
const ASKED: &str = "55535659010100fa00000000000000030102030405060708000000000000000900000000\
    ce7a3b95b551796e8cc0bef228ee87a631c1e768807c0caa26ea1ebf95b6fe58";
const ANSWERED: &str = "555356590102000000000000000000030102030405060708000000000000000900020000\
    070000000701bb0107000000070050003f006fbda3c2ef9fc2b58d97d317f8095b50ef9ebd8ccda8ae70c33b6b357a\
    57";
const ANNOUNCED: &str = "5553565901020002fffffffffffffffffffffffffffffffefffffffffffffffd00010000\
    07ffffffffffff008515ed301256f0f4ea248180ab9293c07f3b23542e78dc31f31f5584c53059e7";
/// Records of 6, 8 and 0 bytes, one with state 2, and a good one.
const ODD: &str = "555356590102000000000000000000030000000000000001000000000000000900050000\
    060000000701bb080000000701bb010000070000000701bb02070000000801bb01467bc12d1dfdacd672ce8f4849c1\
    1bc77bbcbaaa8599570d0cb8caa7bc0573b8";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Signs what is before the last 32 bytes again.
fn sign(mut datagram: Vec<u8>) -> Vec<u8> {
    datagram.truncate(datagram.len() - TAG);
    let tag = hmac::sign(&key().0, &datagram);
    datagram.extend(tag.as_ref());
    datagram
}

#[test]
fn vectors() {
    let spread = Duration::from_millis(250);
    assert_eq!(question(&key(), 3, NONCE, spread), bytes(ASKED));
    let asked = bytes(ASKED);
    let asked = decode(&key(), &asked).expect("a question");
    assert_eq!((asked.kind, asked.epoch, asked.nonce), (Kind::Question { spread }, 3, NONCE));
    assert_eq!(asked.records.count(), 0);

    let said = [record(7, 443, true), record(7, 80, false)];
    assert_eq!(answer(&key(), 3, NONCE, 0, &said).collect::<Vec<_>>(), [bytes(ANSWERED)]);
    let nonce = Nonce { instance: u64::MAX - 1, round: u64::MAX - 2 };
    let said = [record(u32::MAX, u16::MAX, false)];
    let announced: Vec<_> = answer(&key(), u64::MAX, nonce, 2, &said).collect();
    assert_eq!(announced, [bytes(ANNOUNCED)]);
}

#[test]
fn a_record_with_fewer_or_more_fields_is_refused_by_itself() {
    let odd = bytes(ODD);
    let odd = decode(&key(), &odd).expect("an answer");
    let records: Vec<_> = odd.records.collect();
    let (bad, state) = (Err(Refusal::BadRecord), Err(Refusal::BadState));
    assert_eq!(records, [bad, bad, bad, state, Ok(record(8, 443, true))]);
}

#[test]
fn a_datagram_that_is_cut_off_anywhere_is_refused() {
    for whole in [ASKED, ANSWERED, ANNOUNCED, ODD].map(bytes) {
        for length in 0..whole.len() {
            let cut = &whole[..length];
            let expected = if length < MAGIC.len() { Refusal::NotOurs } else { Refusal::CutOff };
            assert_eq!(decode(&key(), cut), Err(expected), "{length} bytes");
            if length >= MAGIC.len() + TAG {
                // Also by one who has the key.
                assert_eq!(decode(&key(), &sign(cut.to_vec())), Err(Refusal::CutOff));
            }
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(decode(&key(), &longer), Err(Refusal::CutOff));
    }
}

#[test]
fn another_magic_version_kind_or_reserved_value_is_not_ours() {
    for (at, value) in [(0, b'u'), (3, 0), (4, 0), (4, 2), (5, 0), (5, 3), (34, 1), (35, 1)] {
        let mut other = bytes(ANSWERED);
        other[at] = value;
        assert_eq!(decode(&key(), &sign(other)), Err(Refusal::NotOurs), "byte {at}");
    }
}

#[test]
fn a_question_has_no_records() {
    let mut asked = bytes(ANSWERED);
    asked[5] = QUESTION;
    assert_eq!(decode(&key(), &sign(asked)), Err(Refusal::CutOff));
}

#[test]
fn every_bit_is_signed() {
    let other = Key::from(&SurveyKey([0; 32]));
    assert_eq!(decode(&other, &bytes(ANSWERED)), Err(Refusal::BadHmac));
    let whole = bytes(ANSWERED);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&key(), &flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn many_records_take_several_datagrams() {
    let records: Vec<_> = (0..400).map(|number| record(number, 1, number % 3 > 0)).collect();
    let datagrams: Vec<_> = answer(&key(), 0, NONCE, 0, &records).collect();
    let lengths: Vec<_> = datagrams.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1452, 1452, 68 + 8 * (400 - 2 * 173)]);
    let read = |datagram: &Vec<u8>| {
        let message = decode(&key(), datagram).expect("an answer");
        message.records.collect::<Result<Vec<_>, _>>().expect("good records")
    };
    assert_eq!(datagrams.iter().flat_map(read).collect::<Vec<_>>(), records);
    // One byte more than the longest.
    let mut longer = datagrams[0].clone();
    longer.splice(HEADER..HEADER, [0]);
    longer[33] += 1;
    assert_eq!(decode(&key(), &sign(longer)), Err(Refusal::CutOff));
}

#[test]
fn a_spread_too_long_is_cut() {
    let asked = question(&key(), 0, NONCE, Duration::from_secs(3600));
    let spread = Duration::from_millis(65_535);
    assert_eq!(decode(&key(), &asked).map(|m| m.kind), Ok(Kind::Question { spread }));
}

fn any_record() -> impl Strategy<Value = Record> {
    (any::<u32>(), any::<u16>(), any::<bool>()).prop_map(|(n, p, s)| record(n, p, s))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_written_is_read(
        epoch: u64, instance: u64, round: u64, sequence: u16,
        said in prop::collection::vec(any_record(), 1..=MAX_RECORDS),
    ) {
        let nonce = Nonce { instance, round };
        let datagrams: Vec<_> = answer(&key(), epoch, nonce, sequence, &said).collect();
        prop_assert_eq!(datagrams.len(), 1);
        let read = decode(&key(), &datagrams[0]).expect("an answer");
        prop_assert_eq!(
            (read.kind, read.epoch, read.nonce),
            (Kind::Answer { sequence }, epoch, nonce)
        );
        prop_assert_eq!(read.records.collect::<Result<Vec<_>, _>>(), Ok(said));
    }

    #[test]
    fn random_bytes_are_refused(
        random in prop::collection::vec(any::<u8>(), 0..2_000),
        ours: bool,
    ) {
        let mut datagram = random;
        if ours {
            let prefix = bytes(&ANSWERED[..12]);
            datagram.splice(0..0, prefix);
        }
        prop_assert!(decode(&key(), &datagram).is_err());
    }

    /// Whoever has the key may send any records: each is read or refused by itself, and a count
    /// that is not theirs refuses all.
    #[test]
    fn any_records_of_any_length(
        parts in prop::collection::vec(prop::collection::vec(0..4_u8, 0..12), 0..40),
        lie in -1..=1_i16,
    ) {
        let count = parts.len() as i16 + lie;
        prop_assume!(count >= 0);
        let mut datagram = bytes(ANSWERED);
        datagram[33] = count as u8;
        let body = parts.iter().flat_map(|p| [&[p.len() as u8], p.as_slice()].concat());
        datagram.splice(HEADER..HEADER + 2 * RECORD, body);
        let datagram = sign(datagram);
        let read = decode(&key(), &datagram);
        if lie != 0 {
            prop_assert_eq!(read, Err(Refusal::CutOff));
            return Ok(());
        }
        let records: Vec<_> = read.expect("an answer").records.collect();
        prop_assert_eq!(records.len(), parts.len());
        for (part, record) in parts.iter().zip(records) {
            let expected = match (part.len(), part.last()) {
                (7, Some(0 | 1)) => None,
                (7, _) => Some(Refusal::BadState),
                _ => Some(Refusal::BadRecord),
            };
            prop_assert_eq!(record.err(), expected);
        }
    }
}
