//! TCP: a connection is accepted; and what it says, if anything is expected.

use std::io::ErrorKind;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{Found, search::Search, socket::Way, socket::heard};
use crate::{
    config::Exchange,
    decide::{MissReason, Outcome},
};

/// So much of an answer is looked at, in bytes.
pub(super) const LIMIT: usize = 64 * 1024;

/// Connects; sends, if there is something to send; and reads until what is expected has come.
pub(super) async fn check(way: Way<'_>, exchange: &Exchange) -> Found {
    let mut stream = way.connect().await?;
    if let Some(send) = &exchange.send {
        stream.write_all(send).await.map_err(|error| heard(&error))?;
    }
    if let Some(expect) = &exchange.expect {
        read_until(&stream, expect).await?;
    }
    Ok(Outcome::Hit)
}

async fn read_until(stream: &TcpStream, expect: &[u8]) -> Result<(), MissReason> {
    let mut search = Search::new(expect, LIMIT);
    let mut said_something = false;
    loop {
        stream.readable().await.map_err(|error| heard(&error))?;
        // Not kept while waiting: thousands of checks wait at a time.
        let mut piece = [0; 4096];
        match stream.try_read(&mut piece) {
            // Whoever hangs up after an answer gave another one; before it, none.
            Ok(0) if said_something => return Err(MissReason::BadAnswer),
            Ok(0) => return Err(MissReason::Closed),
            Ok(length) => {
                said_something = true;
                if search.feed(&piece[..length])? {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(heard(&error)),
        }
    }
}
