//! What checks cost: 10,000 TCP targets, one check a second each, for a minute.
//!
//!     cargo run --release -p lb-user --example probe_scale [TARGETS [SECONDS]]
//!
//! The servers are another process (this program with `serve`), on addresses 127.1.0.0 and up. The
//! figures are of the engine's thread and this process alone.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lb_user::{
    config::{Exchange, Health, Probe, Target, Via},
    engine::{Engine, Report, Settings, schedule::Figures},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;

const INTERVAL: Duration = Duration::from_secs(1);
/// Listeners that share a port: more connections wait for a server that gets no time.
const LISTENERS: usize = 16;
/// Address of the first target.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if arguments.first().is_some_and(|word| word == "serve") {
        return serve();
    }
    let count = arguments.first().map_or(Ok(10_000), |n| n.parse())?;
    let seconds = arguments.get(1).map_or(Ok(60), |n| n.parse())?;
    let mut server = Server::start()?;
    let targets = targets(count, server.port);
    let before = resident()?;
    let engine = Engine::start(
        targets,
        Settings { freeze: Duration::ZERO, survey_key: None, epoch: 1, known: Vec::new() },
        |report| {
            if let Report::Alarm(alarm) = report {
                println!("{alarm}");
            }
            true
        },
    )?;
    // The first round is not the steady state.
    thread::sleep(2 * INTERVAL);
    let (from, cpu, begin) = (engine.figures().checked, engine_cpu()?, Instant::now());
    let mut lags = Vec::new();
    while begin.elapsed() < Duration::from_secs(seconds) {
        thread::sleep(INTERVAL);
        lags.push(engine.figures().checked.worst_lag.as_secs_f64() * 1000.0);
    }
    let (to, cpu, took) = (engine.figures().checked, engine_cpu()? - cpu, begin.elapsed());
    report(&from, &to, cpu, took);
    println!("memory of a target: {} B", resident()?.saturating_sub(before) / u64::from(count));
    let worst = lags.iter().copied().fold(0.0, f64::max);
    let end = engine.figures().checked;
    println!(
        "lag of the engine's thread: half below {:?}, all but a thousandth below {:?}, worst \
         {worst:.1} ms",
        end.lag_median, end.lag_999
    );
    drop(engine);
    server.stop()?;
    Ok(())
}

fn report(from: &Figures, to: &Figures, cpu: Duration, took: Duration) {
    let checks = to.checks - from.checks;
    let each = cpu.as_secs_f64() / checks.max(1) as f64 * 1e6;
    println!(
        "{} targets, {checks} checks in {took:.1?}: {:.0} a second",
        to.targets,
        checks as f64 / took.as_secs_f64()
    );
    println!(
        "CPU of the engine's thread: {:.1} % of a core, {each:.1} µs a check",
        cpu.as_secs_f64() / took.as_secs_f64() * 100.0
    );
    println!("misses: {}; did not count: {}", to.misses, to.starved + to.path_down + to.local);
}

fn targets(count: u32, port: u16) -> Vec<Target> {
    let health = Arc::new(Health {
        probe: Probe::Tcp(Exchange::default()),
        port: None,
        interval: INTERVAL,
        fast_interval: INTERVAL,
        timeout: INTERVAL / 2,
        fall: 3,
        rise: 2,
        source: None,
        via: Via::Direct,
    });
    let address = |n| IpAddr::V4(Ipv4Addr::from_bits(FIRST.to_bits() + n));
    let target = |n| Target {
        health: Arc::clone(&health),
        at: SocketAddr::new(address(n), port),
        server: None,
        vip: None,
    };
    (0..count).map(target).collect()
}

/// The servers, as another process.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self { process, port: line.trim().parse()? })
    }

    fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        // It ends with its input, also if this process is killed.
        drop(self.process.stdin.take());
        self.process.wait()?;
        Ok(())
    }
}

/// Accepts on all addresses of loopback until the input ends.
fn serve() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let first = listen(0)?;
        let port = first.local_addr()?.port();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(accept(first));
        for _ in 1..LISTENERS {
            tasks.spawn(accept(listen(port)?));
        }
        println!("{port}");
        std::io::stdout().flush()?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
        Ok(())
    })
}

async fn accept(listener: TcpListener) {
    // Connections that fail were hung up by the other side already.
    loop {
        let _ = listener.accept().await;
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.listen(4096)
}

/// Processor time of the engine's thread so far.
fn engine_cpu() -> Result<Duration, Box<dyn Error>> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "checks" {
            // Nanoseconds on a processor come first (Documentation/scheduler/sched-stats.rst).
            let stat = std::fs::read_to_string(task.join("schedstat"))?;
            let spent = stat.split_whitespace().next().ok_or("an empty schedstat")?;
            return Ok(Duration::from_nanos(spent.parse()?));
        }
    }
    Err("there is no engine thread".into())
}

/// Memory of this process, in bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).ok_or("an empty VmRSS")?.parse()?;
    Ok(kilobytes * 1024)
}
