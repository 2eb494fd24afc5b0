//! One request: a connection from the client to the VIP, a line, the node's name, the end.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};

use super::{Failure, Kind, Outcome, Sample};
use crate::{
    clock::Moment,
    servers::ONE,
    topology::NodeIndex,
    variant::{Family, Variant},
};

/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// First source port of the fixed flows; below those that the kernel gives out.
const FIRST_FLOW: u16 = 10_000;

/// Asks once.
pub(super) async fn ask(kind: Kind, variant: Variant) -> Sample {
    let start = Moment::now();
    let outcome = match conversation(kind, variant).await {
        Ok(node) => Outcome::Node(node),
        Err(failure) => Outcome::Failed(failure),
    };
    // A timer that fires late on a busy machine does not make the request longer.
    let end = Moment::now().min(start.after(TIMEOUT));
    Sample { kind, start, end, outcome }
}

/// Connects to the VIP.
pub(super) async fn connect(kind: Kind, variant: Variant) -> Result<TcpStream, Failure> {
    let socket = match kind {
        Kind::New => unbound(variant.family),
        Kind::Flow(flow) => bound(variant, FIRST_FLOW + flow),
    };
    let socket = socket.map_err(|error| failure(&error))?;
    socket.connect(variant.service()).await.map_err(|error| failure(&error))
}

fn unbound(family: Family) -> io::Result<TcpSocket> {
    match family {
        Family::V4 => TcpSocket::new_v4(),
        Family::V6 => TcpSocket::new_v6(),
    }
}

fn bound(variant: Variant, port: u16) -> io::Result<TcpSocket> {
    let socket = unbound(variant.family)?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(variant.client(), port))?;
    Ok(socket)
}

async fn conversation(kind: Kind, variant: Variant) -> Result<NodeIndex, Failure> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream =
        timeout_at(deadline, connect(kind, variant)).await.map_err(|_| Failure::Timeout)??;
    let answer = timeout_at(deadline, exchange(&mut stream)).await;
    let result = answer.unwrap_or(Err(Failure::Timeout));
    if result.is_err() || matches!(kind, Kind::Flow(flow) if flow % 2 == 0) {
        // Reset it: what hangs would hang for minutes. Of flows, half end so, the other half are
        // closed by both sides, the server's first: then, too, the port is free at once.
        let _ = stream.set_zero_linger();
    }
    result
}

async fn exchange(stream: &mut TcpStream) -> Result<NodeIndex, Failure> {
    let failed = |error: io::Error| failure(&error);
    stream.write_all(ONE.as_bytes()).await.map_err(failed)?;
    let mut name = [0; 16];
    let mut length = 0;
    loop {
        match stream.read(&mut name[length..]).await.map_err(failed)? {
            0 => break,
            more => length += more,
        }
    }
    let name = str::from_utf8(&name[..length]).map_err(|_| Failure::Strange)?;
    NodeIndex::named(name).ok_or(Failure::Strange)
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => Failure::Reset,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Failure::Timeout
        }
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => Failure::Taken,
        _ => Failure::Client,
    }
}
