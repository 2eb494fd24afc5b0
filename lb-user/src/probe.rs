//! One check of one node, and its outcome. Knows no thresholds and keeps no state.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::decide::{MissReason, Outcome};

/// Connects by TCP and hangs up. A hit is an accepted connection within `limit`.
pub async fn tcp(target: SocketAddr, limit: Duration) -> Outcome {
    match timeout(limit, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            // Hang up with a reset: a check a second must not leave sockets in TIME_WAIT behind.
            // Should it not work, the stream is closed the ordinary way.
            let _ = stream.set_zero_linger();
            Outcome::Hit
        }
        Ok(Err(error)) => Outcome::Miss(match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                MissReason::Refused
            }
            io::ErrorKind::TimedOut => MissReason::Timeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                MissReason::Unreachable
            }
            _ => MissReason::Local,
        }),
        Err(_) => Outcome::Miss(MissReason::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_listener_is_a_hit_and_a_closed_port_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let limit = Duration::from_secs(5);
        assert_eq!(tcp(address, limit).await, Outcome::Hit);
        drop(listener);
        assert_eq!(tcp(address, limit).await, Outcome::Miss(MissReason::Refused));
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        // A listener with a full backlog does not answer further connections.
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let mut held = Vec::new();
        let limit = Duration::from_millis(200);
        let outcome = loop {
            assert!(held.len() < 16, "the backlog never fills");
            match timeout(limit, TcpStream::connect(address)).await {
                Ok(stream) => held.push(stream),
                Err(_) => break tcp(address, limit).await,
            }
        };
        assert_eq!(outcome, Outcome::Miss(MissReason::Timeout));
    }
}
