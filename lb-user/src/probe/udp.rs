//! UDP: a datagram is answered, or at least not refused.

use std::io::{self, Read};

use memchr::memmem;
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket};

use super::{Found, socket::Way, socket::heard};
use crate::{
    config::Exchange,
    decide::{MissReason, Outcome},
};

/// The longest datagram, in bytes.
const LONGEST: usize = 65_535;

/// Sends a datagram, an empty one if there is nothing to send, and judges the first answer. `sent`
/// is set as soon as it went out.
pub(super) async fn check(way: Way<'_>, exchange: &Exchange, sent: &mut bool) -> Found {
    let socket = way.datagram(exchange.send.as_deref().unwrap_or_default()).await?;
    *sent = true;
    let answer = receive(&socket).await.map_err(|error| heard(&error))?;
    match &exchange.expect {
        Some(expect) if memmem::find(&answer, expect).is_none() => Err(MissReason::BadAnswer),
        _ => Ok(Outcome::Hit),
    }
}

/// What it means that the time passed without an answer. Many servers answer only what they
/// understand; one that is not expected to answer is there as long as nobody says that it is not.
pub(super) fn silence(exchange: &Exchange) -> Found {
    match exchange.expect {
        Some(_) => Err(MissReason::Timeout),
        None => Ok(Outcome::Hit),
    }
}

/// The next datagram. Room for it is there only once it has come.
pub(super) async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    // What ICMP says makes a socket of datagrams not readable, only erroneous.
    let something = Interest::READABLE.add(Interest::ERROR);
    let receive = || {
        let mut datagram = vec![0; LONGEST];
        let length = (&*SockRef::from(socket)).read(&mut datagram)?;
        datagram.truncate(length);
        Ok(datagram)
    };
    socket.async_io(something, receive).await
}
