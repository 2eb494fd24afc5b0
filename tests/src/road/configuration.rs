//! The text of a road's configuration: a cluster and two services for each way to forward.

use super::{
    network::{NODES, Road},
    way::{NODE_PORT, Way},
};
use crate::{daemon::Daemon, owner::Owner, variant::Forward};

/// For these ways; paths are the owner's.
#[must_use]
pub fn text(road: &Road, ways: &[Way], owner: Owner) -> String {
    let (bpffs, socket) = (owner.bpffs(), Daemon::socket(owner));
    let interface = |wire: u8| format!("[[interface]]\nname = \"eth{wire}\"\n\n");
    let interfaces: String = (0..road.shape.wires()).map(interface).collect();
    let ways: String = ways.iter().map(|way| cluster(road, *way) + &services(*way)).collect();
    format!(
        r#"[lb]
secret = "000102030405060708090a0b0c0d0e0f"
bpffs = "{bpffs}"
socket = "{socket}"

{interfaces}{ways}"#,
        bpffs = bpffs.display(),
        socket = socket.display(),
    )
}

fn cluster(road: &Road, way: Way) -> String {
    let port = match way.forward {
        Forward::Nat => format!(", port = {NODE_PORT}"),
        _ => String::new(),
    };
    let node = |number| {
        let address = way.node(road.nodes_network(), number);
        format!("  {{ name = \"n{number}\", address = \"{address}\"{port} }},\n")
    };
    let nodes: String = (0..NODES).map(node).collect();
    format!(
        r#"[[cluster]]
name = "{way}"
min_survivors = 1
forward = "{forward}"
health = {{ kind = "tcp", port = {NODE_PORT}, interval = "200ms", timeout = "150ms", fall = 3, rise = 1 }}
nodes = [
{nodes}]

"#,
        forward = way.forward.name(),
    )
}

fn services(way: Way) -> String {
    let service = |protocol| {
        format!(
            r#"[[service]]
name = "{way}-{protocol}"
address = "{address}"
protocol = "{protocol}"
masters = ["{way}"]

"#,
            address = way.service(),
        )
    };
    service("tcp") + &service("udp")
}
