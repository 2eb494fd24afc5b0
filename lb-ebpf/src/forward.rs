//! How a packet gets to its node. `l2`: new MAC addresses, the rest untouched; the node has the
//! VIP and answers the client directly.

use lb_common::{Forward, NodeId, NodeRecord, Reason};

use crate::{Frame, Tables, Verdict};

/// Sends the frame on its way.
#[inline(always)]
pub fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    node: NodeId,
) -> Result<Verdict, Verdict> {
    const BAD_TABLE: Verdict = Verdict::drop(Reason::DropBadTable);
    let record = tables.node(epoch, node).ok_or(BAD_TABLE)?;
    if record.ifindex == 0 {
        return Err(Verdict::drop(Reason::DropUnresolved));
    }
    match Forward::from_raw(record.forward).ok_or(BAD_TABLE)? {
        Forward::L2 => l2(frame, &record),
        Forward::Ipip | Forward::Gue | Forward::Nat => None,
    }
    .ok_or(BAD_TABLE)?;
    Ok(if record.ifindex == frame.ingress() {
        Verdict::tx()
    } else {
        Verdict::redirect(record.ifindex)
    })
}

#[inline(always)]
fn l2<F: Frame>(frame: &mut F, record: &NodeRecord) -> Option<()> {
    frame.write(0, record.dst_mac)?;
    frame.write(6, record.src_mac)
}
