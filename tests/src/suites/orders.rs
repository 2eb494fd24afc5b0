//! What an operator is told: of orders, of who is drained, and of a daemon that does not answer.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::small::{Small, said};
use crate::runner::Case;

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("orders/told-until-they-are-done", until_done),
    Case::network("orders/refused", refused),
    Case::network("orders/without-a-daemon", without_a_daemon),
];

/// A running daemon with A's two nodes up, and a drain limit of a second; and who listens there.
fn running() -> Result<(Small, Vec<TcpListener>)> {
    let mut small = Small::new()?;
    small.client.ip("address add 203.0.113.9/24 dev eth0\n")?;
    let listen = |address: &str| small.client.run(|| Ok(TcpListener::bind((address, 80))?));
    let servers = vec![listen("203.0.113.2")?, listen("203.0.113.9")?];
    let file = small.configuration(&[("name = \"A\"\n", "name = \"A\"\ndrain = \"1s\"\n")])?;
    small.start(&file)?;
    small.until("both nodes are up", |small| {
        Ok(cluster(small)?["alive"] == 2 && cluster(small)?["healthy"] == true)
    })?;
    Ok((small, servers))
}

/// What is said of cluster A.
fn cluster(small: &Small) -> Result<Value> {
    Ok(small.status()?["clusters"][0].clone())
}

/// Gives an order; returns its exit code and all that it wrote.
fn order(small: &Small, arguments: &[&str]) -> Result<(i32, String)> {
    let at = small.at();
    let output = small.understudy(&[arguments, &["--socket", &at]].concat())?;
    Ok((output.status.code().context("no exit code")?, said(&output)))
}

fn until_done() -> Result<()> {
    let (small, _servers) = running()?;
    let (code, told) = order(&small, &["drain", "A/a1"])?;
    ensure!(code == 0 && told.contains("A/a1 is drained"), "{told}");
    let going = cluster(&small)?["nodes"][0]["going"].clone();
    ensure!(going["state"] == "drained" && going["since_s"].is_number(), "{going}");
    ensure!(cluster(&small)?["nodes"][1]["going"].is_null(), "a2 is told to go");
    small.until("the drain is done", |small| {
        Ok(cluster(small)?["nodes"][0]["going"]["done"] == true)
    })?;
    let (_, told) = order(&small, &["status"])?;
    ensure!(told.contains("up, drained for") && told.contains(": done"), "{told}");
    ensure!(told.contains("pins    0, room for 131072"), "{told}");

    let (code, told) = order(&small, &["maintain", "A"])?;
    ensure!(code == 0 && told.contains("A is in maintenance"), "{told}");
    small.until("the maintenance is done", |small| {
        let cluster = cluster(small)?;
        let all = [&cluster, &cluster["nodes"][0], &cluster["nodes"][1]];
        Ok(all.iter().all(|it| {
            it["going"]["state"] == "in maintenance"
                && it["going"]["done"] == true
                && it["going"]["cut_s"].is_null()
        }))
    })?;
    let (code, told) = order(&small, &["undrain", "A", "--format", "json"])?;
    ensure!(code == 0 && told.contains("{\"done\":\"A is in service\"}"), "{told}");
    small.until("A serves again", |small| {
        let cluster = cluster(small)?;
        let back = |it: &Value| it["going"].is_null();
        let share = |node: usize| cluster["nodes"][node]["share"].as_f64();
        Ok(back(&cluster) && cluster["alive"] == 2 && share(0) > Some(0.0) && share(1) > Some(0.0))
    })
}

fn refused() -> Result<()> {
    let (small, _servers) = running()?;
    let orders: [(&[&str], i32, &str); 8] = [
        (&["drain", "Q"], 1, "there is no cluster \"Q\"; there are A, S"),
        (&["drain", "A/a9"], 1, "cluster A has no node \"a9\"; it has a1, a2"),
        (&["undrain", "A/a1"], 1, "A/a1 is in service already"),
        (&["maintain", "A"], 0, "A is in maintenance"),
        (&["maintain", "A"], 1, "A is in maintenance already"),
        (&["undrain", "A/a1"], 1, "with all of its cluster: name A instead"),
        (&["drain", "A/a2"], 1, "A/a2 is in maintenance with all of its cluster: name A instead"),
        (&["drain"], 2, "CLUSTER[/NODE]"),
    ];
    for (arguments, code, words) in orders {
        let (found, told) = order(&small, arguments)?;
        ensure!(found == code && told.contains(words), "{arguments:?}: {told}");
    }
    Ok(())
}

fn without_a_daemon() -> Result<()> {
    let (mut small, _servers) = running()?;
    let file = small.directory().join("small.toml").display().to_string();
    let epoch = small.status()?["epoch"].clone();
    let elsewhere = small.directory().join("elsewhere.sock").display().to_string();
    let pins = small.pins().display().to_string();
    let output = small.understudy(&["status", "--socket", &elsewhere, "--bpffs", &pins])?;
    let (code, told) = (output.status.code(), said(&output));
    let lives = format!("a daemon lives, but does not answer at {elsewhere}");
    ensure!(code == Some(1) && told.contains(&lives), "{told}");
    small.stop(Signal::SIGKILL)?;
    let ask = |small: &Small, format: &str| {
        small.understudy(&["status", "--config", &file, "--format", format])
    };
    small.until("the sign of life is old", |small| {
        Ok(!said(&ask(small, "text")?).contains("a daemon lives"))
    })?;
    let text = ask(&small, "text")?;
    let (code, told) = (text.status.code(), said(&text));
    ensure!(code == Some(1) && told.contains("its last sign of life was"), "{told}");
    ensure!(told.contains(&format!("epoch {epoch} holds on 1 interface:")), "{told}");
    let json = ask(&small, "json")?;
    let life: Value = serde_json::from_slice(&json.stdout).context("a document")?;
    ensure!(life["daemon"].is_null() && life["epoch"] == epoch, "{life}");
    ensure!(life["heartbeat_age_s"].as_f64() > Some(0.0) && life["interfaces"] == 1, "{life}");

    let detached = small.understudy(&["detach", "--config", &file])?;
    ensure!(detached.status.success(), "{}", said(&detached));
    let told = said(&ask(&small, "text")?);
    ensure!(told.contains("nothing is attached by"), "{told}");
    Ok(())
}
