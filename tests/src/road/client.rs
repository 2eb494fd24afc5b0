//! What a road's client asks: transfers, echoes, pings. To be called in its namespace.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    pattern,
    servers::{DOWN, LONGEST, RIGHT, UP},
};
use crate::variant::Family;

/// How long a transfer may stand still.
const STANDSTILL: Duration = Duration::from_secs(10);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How often is asked again: what is lost may have been lost for a reason that is known then.
const ATTEMPTS: usize = 4;

/// Types of ICMP (RFC 792, RFC 4443).
const ECHO_REQUEST: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];

/// A datagram's echo.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// Whose it was.
    pub node: u8,
    /// How many datagrams were sent for it.
    pub attempts: usize,
}

/// Sends so much content to a node: which node.
///
/// # Errors
/// If it does not get there whole.
pub fn upload(to: SocketAddr, length: u64) -> Result<u8> {
    let mut stream = begin(to, UP, length)?;
    let mut offset = 0;
    while offset < length {
        let bytes = pattern::bytes(offset, usize::try_from(length - offset)?);
        stream.write_all(bytes).with_context(|| format!("after {offset} bytes"))?;
        offset += bytes.len() as u64;
    }
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).context("reading the node's judgement")?;
    ensure!(answer[1] == RIGHT, "node {} got other content", answer[0]);
    Ok(answer[0])
}

/// Gets so much content from a node: which node.
///
/// # Errors
/// If it does not come whole.
pub fn download(from: SocketAddr, length: u64) -> Result<u8> {
    let mut stream = begin(from, DOWN, length)?;
    let mut node = [0];
    stream.read_exact(&mut node).context("reading the node's number")?;
    let (mut offset, mut buffer) = (0, vec![0; pattern::MOST]);
    loop {
        let seen = stream.read(&mut buffer).with_context(|| format!("after {offset} bytes"))?;
        if seen == 0 {
            break;
        }
        ensure!(pattern::is_right(offset, &buffer[..seen]), "other content after {offset} bytes");
        offset += seen as u64;
    }
    ensure!(offset == length, "{offset} bytes came instead of {length}");
    Ok(node[0])
}

fn begin(to: SocketAddr, direction: u8, length: u64) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, STANDSTILL).context("connecting")?;
    stream.set_read_timeout(Some(STANDSTILL))?;
    stream.set_write_timeout(Some(STANDSTILL))?;
    let mut request = vec![direction];
    request.extend(length.to_be_bytes());
    stream.write_all(&request).context("asking")?;
    Ok(stream)
}

/// Sends a datagram of so many bytes, and again until its echo comes.
///
/// # Errors
/// If none comes, or another one.
pub fn echo(to: SocketAddr, length: usize) -> Result<Echo> {
    let any = if to.is_ipv4() { Family::V4 } else { Family::V6 }.any();
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(ANSWER))?;
    let datagram = pattern::bytes(0, length);
    let mut buffer = vec![0; LONGEST];
    for attempts in 1..=ATTEMPTS {
        match socket.send(datagram) {
            // It is too long for what is known of the way by now: the next one is cut up.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => continue,
            sent => sent.context("sending a datagram")?,
        };
        match socket.recv(&mut buffer) {
            Ok(seen) => {
                let right = buffer[1..seen] == datagram[1..];
                ensure!(right, "of {length} bytes {seen} came back, or other ones");
                return Ok(Echo { node: buffer[0], attempts });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {}
            Err(error) => return Err(error).context("waiting for an echo"),
        }
    }
    bail!("no echo of {length} bytes within {ATTEMPTS} times {ANSWER:?}")
}

/// Whether a ping of so many bytes is answered, whole. The kernel judges the answer's checksum.
///
/// # Errors
/// If it cannot be sent, or another answer comes.
pub fn ping(to: IpAddr, length: usize) -> Result<bool> {
    let (domain, protocol, version) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 1),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol)).context("a ping socket")?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    // The kernel fills in the identifier and the checksum.
    let mut request = vec![ECHO_REQUEST[version], 0, 0, 0, 0, 0, 0, 1];
    request.extend(pattern::bytes(0, length));
    socket.send(&request).context("sending a ping")?;
    let mut answer = vec![0; request.len() + 1];
    match (&socket).read(&mut answer) {
        Ok(seen) => {
            let answer = &answer[..seen];
            let right =
                answer.first() == Some(&ECHO_REPLY[version]) && answer.get(8..) == request.get(8..);
            ensure!(right, "another answer: {answer:02x?}");
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error).context("waiting for the answer to a ping"),
    }
}
