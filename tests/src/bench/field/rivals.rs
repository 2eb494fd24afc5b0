//! What a user would pick on this machine without us, configured as its own documentation has it.
//!
//! - nftables: `dnat to numgen inc mod N map { … }`, as its wiki on load balancing has it, with
//!   connection tracking, which all its NAT needs.
//! - HAProxy: TCP mode, round robin, as many threads as it chooses, splicing where it sees fit
//!   (`splice-auto`), a check of every node each second.
//! - nginx: the stream module, one worker a CPU, round robin.
//!
//! None writes a log of connections.

use std::{
    fmt::Write,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Context, Result};

use crate::{
    checked::{debian, process::Running},
    netns::Netns,
};

/// Connections that a proxy may have at once.
const CONNECTIONS: u32 = 4096;

/// Lets nftables balance what comes for a service; it lasts as long as the namespace.
///
/// # Errors
/// If there is no `nft`, or it refuses the rule.
pub fn nftables(netns: &Netns, service: SocketAddr, nodes: &[SocketAddr]) -> Result<()> {
    let rules = balancing(service, nodes).context("no nodes")?;
    debian::program(&netns.path(), "nft")?.args([rules]).run().map(drop)
}

/// Starts HAProxy; it listens when this returns.
///
/// # Errors
/// If there is none, or it does not come to listen.
pub fn haproxy(
    netns: &Netns,
    directory: &Path,
    service: SocketAddr,
    nodes: &[SocketAddr],
) -> Result<Running> {
    let file = directory.join("haproxy.cfg");
    fs::write(&file, haproxy_configuration(service, nodes))?;
    let start = debian::program(&netns.path(), "haproxy")?.args(["-db", "-f"]).args([&file]);
    listening(start.spawn(directory.join("haproxy.log"))?, netns, service)
}

/// Starts nginx; it listens when this returns.
///
/// # Errors
/// If there is none or it has no stream module, or it does not come to listen.
pub fn nginx(
    netns: &Netns,
    directory: &Path,
    service: SocketAddr,
    nodes: &[SocketAddr],
) -> Result<Running> {
    let module = debian::file("usr/lib/nginx/modules/ngx_stream_module.so")?;
    let file = directory.join("nginx.conf");
    fs::write(&file, nginx_configuration(directory, &module, service, nodes))?;
    let start = debian::program(&netns.path(), "nginx")?.args(["-p".as_ref(), directory]);
    let start = start.args(["-c".as_ref(), file.as_path()]);
    let start = start.args(["-e".as_ref(), directory.join("error.log").as_path()]);
    listening(start.spawn(directory.join("nginx.log"))?, netns, service)
}

fn listening(mut running: Running, netns: &Netns, service: SocketAddr) -> Result<Running> {
    running.until_it_listens(netns, service)?;
    Ok(running)
}

/// All nodes listen on the port of the first.
fn balancing(service: SocketAddr, nodes: &[SocketAddr]) -> Option<String> {
    let (address, port) = (service.ip(), service.port());
    let family = match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    };
    let numbered = nodes.iter().enumerate();
    let map: Vec<_> = numbered.map(|(number, node)| format!("{number} : {}", node.ip())).collect();
    Some(format!(
        "table {family} balancing {{\n  chain prerouting {{\n    \
         type nat hook prerouting priority dstnat;\n    \
         {family} daddr {address} tcp dport {port} dnat to \
         numgen inc mod {count} map {{ {map} }} : {to}\n  }}\n}}\n",
        count = nodes.len(),
        map = map.join(", "),
        to = nodes.first()?.port(),
    ))
}

fn haproxy_configuration(service: SocketAddr, nodes: &[SocketAddr]) -> String {
    let mut text = format!(
        "global\n  maxconn {CONNECTIONS}\n\
         defaults\n  mode tcp\n  balance roundrobin\n  option splice-auto\n  \
         timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
         listen web\n  bind {service}\n  default-server check inter 1s\n"
    );
    for (number, node) in nodes.iter().enumerate() {
        let _ = writeln!(text, "  server n{number} {node}");
    }
    text
}

fn nginx_configuration(
    directory: &Path,
    module: &Path,
    service: SocketAddr,
    nodes: &[SocketAddr],
) -> String {
    let servers: String = nodes.iter().map(|node| format!("    server {node};\n")).collect();
    format!(
        "load_module {module};\ndaemon off; worker_processes auto; user root; pid {pid};\n\
         events {{ worker_connections {CONNECTIONS}; }}\n\
         stream {{\n  upstream nodes {{\n{servers}  }}\n  \
         server {{ listen {service}; proxy_pass nodes; }}\n}}\n",
        module = module.display(),
        pid = directory.join("nginx.pid").display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_in_every_configuration() {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let service = address("192.0.2.10:80");
        let nodes = ["192.0.2.21:8080", "192.0.2.22:8080"].map(address);
        let rules = balancing(service, &nodes).expect("nodes");
        let map = "ip daddr 192.0.2.10 tcp dport 80 dnat to numgen inc mod 2 map \
                   { 0 : 192.0.2.21, 1 : 192.0.2.22 } : 8080\n";
        assert!(rules.contains(map), "{rules}");
        assert_eq!(balancing(service, &[]), None);
        let haproxy = haproxy_configuration(service, &nodes);
        let nginx = nginx_configuration(Path::new("/d"), Path::new("/m"), service, &nodes);
        for node in nodes {
            assert!(haproxy.contains(&format!(" {node}\n")), "{haproxy}");
            assert!(nginx.contains(&format!(" {node};\n")), "{nginx}");
        }
        assert!(
            haproxy.contains("bind 192.0.2.10:80\n") && nginx.contains("listen 192.0.2.10:80;")
        );
    }
}
