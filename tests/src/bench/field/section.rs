//! The figures of the comparison, by contender.

use serde::Serialize;

use super::{phases::PACE, stage::Contender};
use crate::bench::figures::Figures;

/// What one round of a contender came to, or the median of several. Microseconds and nanoseconds of
/// `lb_…` are CPU time of the load balancer, see [`super::cpu`]. A megabyte is 10^6 bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// New connections a second, each with a request and an answer of a few bytes.
    pub connections_per_second: f64,
    /// What one of them costs.
    pub lb_us_per_connection: f64,
    /// Requests a second on connections that stay.
    pub requests_per_second: f64,
    /// What one of them costs.
    pub lb_us_per_request: f64,
    /// From the nodes to the client.
    pub download_mb_per_second: f64,
    /// What a megabyte of it costs.
    pub lb_us_per_downloaded_mb: f64,
    /// From the client to the nodes.
    pub upload_mb_per_second: f64,
    /// What a megabyte of it costs.
    pub lb_us_per_uploaded_mb: f64,
    /// Of requests on connections that stay, at a steady rate: half take no longer.
    pub latency_p50_us: f64,
    /// The same for 99 in 100.
    pub latency_p99_us: f64,
    /// What one of those costs.
    pub lb_us_per_paced_request: f64,
    /// CPU time of the whole machine for one of those: client, switch, load balancer and node.
    pub machine_us_per_paced_request: f64,
    /// Of who forwards packets.
    pub packets: Option<Packets>,
}

/// A flood of packets of connections that exist.
#[derive(Clone, Debug, Serialize)]
pub struct Packets {
    /// Packets a second that the load balancer sent on.
    pub packets_per_second: f64,
    /// What one costs.
    pub lb_ns_per_packet: f64,
}

/// A contender's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who.
    pub contender: &'static str,
    /// The medians over all rounds, each figure by itself.
    pub median: Round,
    /// How much more CPU time the whole machine needs for a request at a steady rate than without a load
    /// balancer, in microseconds.
    pub machine_us_above_direct: f64,
}

/// The comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Rounds of every contender, interleaved.
    pub rounds: usize,
    /// CPUs, which clients, switch, load balancer and nodes share.
    pub cpus: usize,
    /// Turns of a contender in a round at whose beginning the machine was busy with something else.
    pub busy_turns: usize,
    /// Requests a second at which latency was measured.
    pub paced_requests_per_second: u32,
    /// By contender.
    pub rows: Vec<Row>,
}

/// A column of the table: two lines of heading, the decimals, and what is in it.
struct Column {
    head: [&'static str; 2],
    decimals: usize,
    value: fn(&Row) -> Option<f64>,
}

const fn column(
    head: [&'static str; 2],
    decimals: usize,
    value: fn(&Row) -> Option<f64>,
) -> Column {
    Column { head, decimals, value }
}

const COLUMNS: [Column; 14] = [
    column(["conn", "/s"], 0, |row| Some(row.median.connections_per_second)),
    column(["LB us", "/conn"], 2, |row| Some(row.median.lb_us_per_connection)),
    column(["req", "/s"], 0, |row| Some(row.median.requests_per_second)),
    column(["LB us", "/req"], 2, |row| Some(row.median.lb_us_per_request)),
    column(["paced", "p50 us"], 0, |row| Some(row.median.latency_p50_us)),
    column(["paced", "p99 us"], 0, |row| Some(row.median.latency_p99_us)),
    column(["paced LB", "us/req"], 2, |row| Some(row.median.lb_us_per_paced_request)),
    column(["paced all", "us/req"], 1, |row| Some(row.machine_us_above_direct)),
    column(["down", "MB/s"], 0, |row| Some(row.median.download_mb_per_second)),
    column(["LB us", "/MB"], 1, |row| Some(row.median.lb_us_per_downloaded_mb)),
    column(["up", "MB/s"], 0, |row| Some(row.median.upload_mb_per_second)),
    column(["LB us", "/MB"], 1, |row| Some(row.median.lb_us_per_uploaded_mb)),
    column(["flood", "kpkt/s"], 0, |row| Some(packets(row)?.packets_per_second / 1e3)),
    column(["LB ns", "/pkt"], 0, |row| Some(packets(row)?.lb_ns_per_packet)),
];

const fn packets(row: &Row) -> Option<&Packets> {
    row.median.packets.as_ref()
}

impl Section {
    /// Takes the medians of rounds, by contender; `None` without a round of each, `Direct` being one.
    #[must_use]
    pub fn of(rounds: &[(Contender, Vec<Round>)], cpus: usize, busy_turns: usize) -> Option<Self> {
        let medians = rounds.iter().map(|(who, rounds)| Some((*who, middle(rounds)?)));
        let medians: Vec<_> = medians.collect::<Option<_>>()?;
        let direct = medians.iter().find(|(who, _)| *who == Contender::Direct)?;
        let floor = direct.1.machine_us_per_paced_request;
        let row = |(who, median): &(Contender, Round)| Row {
            contender: who.name(),
            median: median.clone(),
            machine_us_above_direct: median.machine_us_per_paced_request - floor,
        };
        Some(Self {
            rounds: rounds.first()?.1.len(),
            cpus,
            busy_turns,
            paced_requests_per_second: PACE,
            rows: medians.iter().map(row).collect(),
        })
    }

    /// As a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "medians of {} rounds; client, switch, load balancer and nodes share {} CPUs;\n\
             paced: {} requests/s; LB: CPU time of the load balancer; all: of the whole machine, \
             above direct\n",
            self.rounds, self.cpus, self.paced_requests_per_second
        );
        if self.busy_turns > 0 {
            text += &format!(
                "turns while the machine was busy with something else: {}\n",
                self.busy_turns
            );
        }
        for line in 0..2 {
            let cells = COLUMNS.iter().map(|column| column.head[line].to_owned());
            text += &line_of("", cells);
        }
        for row in &self.rows {
            let cell = |column: &Column| {
                let decimals = column.decimals;
                (column.value)(row).map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
            };
            text += &line_of(row.contender, COLUMNS.iter().map(cell));
        }
        text
    }
}

fn line_of(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!(" {cell:>9}")).collect();
    format!("{name:<15}{cells}\n")
}

/// The median of each figure; `None` of no rounds.
fn middle(rounds: &[Round]) -> Option<Round> {
    if rounds.is_empty() {
        return None;
    }
    let of = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Figures>().median();
    let floods: Vec<&Packets> = rounds.iter().filter_map(|round| round.packets.as_ref()).collect();
    let of_floods = |figure: fn(&Packets) -> f64| {
        floods.iter().copied().map(figure).collect::<Figures>().median()
    };
    let packets = (!floods.is_empty()).then(|| Packets {
        packets_per_second: of_floods(|packets| packets.packets_per_second),
        lb_ns_per_packet: of_floods(|packets| packets.lb_ns_per_packet),
    });
    Some(Round {
        connections_per_second: of(|round| round.connections_per_second),
        lb_us_per_connection: of(|round| round.lb_us_per_connection),
        requests_per_second: of(|round| round.requests_per_second),
        lb_us_per_request: of(|round| round.lb_us_per_request),
        download_mb_per_second: of(|round| round.download_mb_per_second),
        lb_us_per_downloaded_mb: of(|round| round.lb_us_per_downloaded_mb),
        upload_mb_per_second: of(|round| round.upload_mb_per_second),
        lb_us_per_uploaded_mb: of(|round| round.lb_us_per_uploaded_mb),
        latency_p50_us: of(|round| round.latency_p50_us),
        latency_p99_us: of(|round| round.latency_p99_us),
        lb_us_per_paced_request: of(|round| round.lb_us_per_paced_request),
        machine_us_per_paced_request: of(|round| round.machine_us_per_paced_request),
        packets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(figure: f64, packets: bool) -> Round {
        Round {
            connections_per_second: figure,
            lb_us_per_connection: figure,
            requests_per_second: figure,
            lb_us_per_request: figure,
            download_mb_per_second: figure,
            lb_us_per_downloaded_mb: figure,
            upload_mb_per_second: figure,
            lb_us_per_uploaded_mb: figure,
            latency_p50_us: figure,
            latency_p99_us: figure,
            lb_us_per_paced_request: figure,
            machine_us_per_paced_request: figure,
            packets: packets
                .then_some(Packets { packets_per_second: 1e3 * figure, lb_ns_per_packet: figure }),
        }
    }

    fn section() -> Section {
        let direct = [2.0, 1.0, 3.0].map(|figure| round(figure, false)).to_vec();
        let nftables = [9.0, 7.0, 5.0].map(|figure| round(figure, true)).to_vec();
        let rounds = [(Contender::Direct, direct), (Contender::Nftables, nftables)];
        Section::of(&rounds, 2, 1).expect("rounds of all")
    }

    #[test]
    fn rows_are_medians_and_direct_is_the_floor() {
        let section = section();
        let (direct, nftables) = (&section.rows[0], &section.rows[1]);
        assert_eq!(
            (section.rounds, direct.contender, nftables.contender),
            (3, "direct", "nftables")
        );
        assert!(direct.median.packets.is_none() && direct.machine_us_above_direct.abs() < 1e-9);
        assert!((nftables.median.requests_per_second - 7.0).abs() < 1e-9);
        assert!((nftables.machine_us_above_direct - 5.0).abs() < 1e-9);
        let packets = nftables.median.packets.as_ref().expect("packets");
        assert!((packets.packets_per_second - 7e3).abs() < 1e-6);
    }

    #[test]
    fn without_rounds_or_without_direct_there_is_nothing() {
        assert!(Section::of(&[(Contender::Direct, Vec::new())], 2, 0).is_none());
        assert!(Section::of(&[(Contender::Nginx, vec![round(1.0, false)])], 2, 0).is_none());
    }

    #[test]
    fn the_table_has_a_line_for_each_contender() {
        let table = section().table();
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).expect(name);
        assert!(table.contains("something else: 1\n"), "{table}");
        let cells: Vec<_> = line("nftables").split_whitespace().collect();
        assert_eq!(cells.len(), 1 + COLUMNS.len(), "{table}");
        assert_eq!((cells[1], cells[2], cells[13], cells[14]), ("7", "7.00", "7", "7"));
        assert!(line("direct").trim_end().ends_with('-'));
    }
}
