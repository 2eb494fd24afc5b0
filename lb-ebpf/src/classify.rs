//! Is it ours? Strangers leave after one bit; the rest is a look-up in our own VIP table.

use lb_common::{
    Reason, ServiceId, VipKey,
    vip::{MAX_PROBES, next_place},
};

use crate::{Tables, Verdict, parse::Network};

const BAD_TABLE: Verdict = Verdict::drop(Reason::DropBadTable);

/// Passes what goes to no service's address; else the epoch that holds for this packet.
#[inline(always)]
pub fn address<T: Tables>(tables: &T, network: &Network) -> Result<u64, Verdict> {
    let epoch = tables.epoch().ok_or(BAD_TABLE)?;
    let (word, mask) = network.address_key().bit();
    match tables.vip_bits(epoch, word) {
        Some(bits) if bits & mask != 0 => Ok(epoch),
        _ => Err(Verdict::pass(Reason::PassNotVip)),
    }
}

/// The service of a key. A packet whose address only shares its bit with a VIP is found out here.
#[inline(always)]
pub fn service<T: Tables>(tables: &T, epoch: u64, key: &VipKey) -> Result<ServiceId, Verdict> {
    let mut place = key.place();
    for _ in 0..MAX_PROBES {
        let entry = tables.vip(epoch, place).ok_or(BAD_TABLE)?;
        if entry.used == 0 {
            break;
        }
        if entry.matches(key) {
            return ServiceId::new(usize::from(entry.service)).ok_or(BAD_TABLE);
        }
        place = next_place(place);
    }
    Err(Verdict::pass(Reason::PassNoService))
}
