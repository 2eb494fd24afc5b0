//! How long next hops take to be found and followed for as many nodes as there can be:
//! `UNDERSTUDY_OBJECT=… cargo run --release -p tests --example hops`, as root.

use std::time::Instant;

use anyhow::{Context, Result};
use harness::{netns::Netns, owner::Owner};
use lb_common::layout::MAX_NODES;
use lb_user::{
    config::{self, Config},
    decide::Pools,
    nexthop::{News, NextHops},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn main() -> Result<()> {
    let made = Netns::create(vec![Owner::this().netns("lb")])?.pop();
    let lb = made.context("one namespace was asked for")?;
    lb.ip(
        "link add lb1 type veth peer name lb2\nlink set lo up\nlink set lb1 up\nlink set lb2 up\n\
         address add 10.1.0.1/16 dev lb1\naddress add 10.2.0.1/16 dev lb2\n",
    )?;
    lb.sysctl(&[("ipv4/neigh/default/gc_thresh3", "16384")])?;
    let neighbour = |i: u32| {
        let (high, low) = (i >> 8, i & 255);
        format!("neigh add 10.1.{high}.{low} lladdr 02:00:00:00:{high:02x}:{low:02x} dev lb1\n")
    };
    lb.ip(&numbers().map(neighbour).collect::<String>())?;
    lb.ip("neigh add 10.2.0.2 lladdr 02:00:00:00:00:02 dev lb2\n")?;
    let config = configuration()?;
    lb.run(|| {
        // Its threads start in the namespace of this one.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(measure(&lb, &config))
    })
}

async fn measure(lb: &Netns, config: &Config) -> Result<()> {
    let (report, mut news) = unbounded_channel();
    let (_doubts, mut doubted) = unbounded_channel();
    let mut hops = NextHops::new(config, &Pools::of(config).targets, &[]);
    let begin = Instant::now();
    let following = tokio::spawn(async move { hops.follow(&report, &mut doubted).await });
    told(&mut news, MAX_NODES).await?;
    println!("first look at {MAX_NODES} nodes: {:?}", begin.elapsed());
    for (what, script, nodes) in [
        ("another route of all", "route add 10.1.0.0/17 via 10.2.0.2\n", MAX_NODES),
        ("another route of one", "route add 10.1.1.1/32 dev lb1\n", 1),
        ("another MAC of one", "neigh replace 10.1.1.1 lladdr 02:00:00:00:99:99 dev lb1\n", 1),
    ] {
        lb.ip(script)?;
        let begin = Instant::now();
        told(&mut news, nodes).await?;
        println!("{what}: {:?} with the 20 ms of waiting for more", begin.elapsed());
    }
    following.abort();
    Ok(())
}

async fn told(news: &mut UnboundedReceiver<News>, nodes: u32) -> Result<()> {
    let mut left = nodes;
    while left > 0 {
        let news = news.recv().await.context("nobody follows")?;
        left -= u32::from(matches!(news, News::Way(found) if found.hop.is_ok()));
    }
    Ok(())
}

fn numbers() -> impl Iterator<Item = u32> {
    (0..MAX_NODES).map(|i| i + 256)
}

fn configuration() -> Result<Config> {
    let node =
        |i: u32| format!("{{ name = \"n{i}\", address = \"10.1.{}.{}\" }},", i >> 8, i & 255);
    let nodes: String = numbers().map(node).collect();
    let text = format!(
        "[[interface]]\nname = \"lb1\"\n[[interface]]\nname = \"lb2\"\n\
         [[cluster]]\nname = \"T\"\nforward = \"nat\"\nnodes = [{nodes}]\n\
         [[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\nprotocol = \"tcp\"\n\
         masters = [\"T\"]\n"
    );
    let checked = config::parse(&text, "hops.toml");
    Ok(checked.map_err(|errors| anyhow::anyhow!("{errors}"))?.config)
}
