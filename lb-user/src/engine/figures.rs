//! What the engine did and saw, as `status` shows it.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::schedule;
use crate::{
    survey::{Counts, Refusal},
    vippath,
};

/// What the engine did and saw since it was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What is checked.
    pub targets: usize,
    /// Checks under way.
    pub in_flight: usize,
    /// Checks that were started.
    pub checks: u64,
    /// Of these, those that asked again who did not answer a survey.
    pub confirmations: u64,
    /// Outcomes that count, announcements among them.
    pub hits: u64,
    /// See `hits`.
    pub not_working: u64,
    /// See `hits`.
    pub misses: u64,
    /// Misses that did not count because the daemon did not run when it should have.
    pub starved: u64,
    /// Misses that did not count because the own link or gateway was down.
    pub path_down: u64,
    /// Checks that this host could not make.
    pub local: u64,
    /// Addresses whose way is down on this side.
    pub ways_down: usize,
    /// How late the engine's thread ran at worst in the last 10 to 20 s, in milliseconds.
    pub worst_lag_ms: f64,
    /// A thousandth of its lags was longer than that, to a factor of two, in milliseconds.
    pub lag_999_ms: f64,
    /// Half of its lags were shorter than that, to a factor of two, in milliseconds.
    pub lag_median_ms: f64,
    /// Surveys; `None` where there are none.
    pub survey: Option<Survey>,
    /// What became of the packets of checks through VIPs; `None` where there are none.
    pub via_vip: Option<vippath::Counts>,
}

/// What was done and seen in surveys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// Questions sent; one by broadcast counts once.
    pub questions: u64,
    /// Datagrams that were believed.
    pub answers: u64,
    /// Records in them that were believed.
    pub records: u64,
    /// What agents said unasked.
    pub announcements: u64,
    /// What was refused, by reason; reasons that did not occur are left out.
    pub refused: BTreeMap<String, u64>,
}

impl Figures {
    /// Those of a schedule, of the askers of its surveys, and of the way through VIPs.
    pub fn new(
        of: &schedule::Figures,
        surveyed: impl IntoIterator<Item = Counts>,
        via_vip: Option<vippath::Counts>,
    ) -> Self {
        Self {
            targets: of.targets,
            in_flight: of.in_flight,
            checks: of.checks,
            confirmations: of.confirmations,
            hits: of.hits,
            not_working: of.not_working,
            misses: of.misses,
            starved: of.starved,
            path_down: of.path_down,
            local: of.local,
            ways_down: of.ways_down,
            worst_lag_ms: milliseconds(of.worst_lag),
            lag_999_ms: milliseconds(of.lag_999),
            lag_median_ms: milliseconds(of.lag_median),
            survey: surveyed.into_iter().map(Survey::from).reduce(Survey::and),
            via_vip,
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl From<Counts> for Survey {
    fn from(counts: Counts) -> Self {
        let refused = Refusal::ALL.into_iter().map(|why| (why, counts.refused.of(why)));
        let refused = refused.filter(|(_, times)| *times > 0);
        Self {
            questions: counts.questions,
            answers: counts.answers,
            records: counts.records,
            announcements: counts.announcements,
            refused: refused.map(|(why, times)| (why.name().to_owned(), times)).collect(),
        }
    }
}

impl Survey {
    fn and(mut self, other: Self) -> Self {
        self.questions += other.questions;
        self.answers += other.answers;
        self.records += other.records;
        self.announcements += other.announcements;
        for (why, times) in other.refused {
            *self.refused.entry(why).or_default() += times;
        }
        self
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "checks  {} targets, {} under way, {} made; at worst {:.1} ms late lately",
            self.targets, self.in_flight, self.checks, self.worst_lag_ms
        )?;
        if self.starved + self.path_down + self.local > 0 {
            write!(
                f,
                "\n        did not count: {} while the daemon was starved, {} behind an own way \
                 that was down ({} down now), {} that this host could not make",
                self.starved, self.path_down, self.ways_down, self.local
            )?;
        }
        if let Some(via) = &self.via_vip {
            write!(f, "\nvia vip {} packets sent, {} answers", via.sent, via.answers)?;
            let lost = via.no_hop + via.too_long + via.unregistered + via.refused;
            if lost > 0 {
                write!(
                    f,
                    "; lost: {} no next hop, {} too long, {} of no check, {} refused by the kernel",
                    via.no_hop, via.too_long, via.unregistered, via.refused
                )?;
            }
        }
        let Some(survey) = &self.survey else { return Ok(()) };
        write!(
            f,
            "\nsurvey  {} questions, {} asked again; {} answers, {} announcements",
            survey.questions, self.confirmations, survey.answers, survey.announcements
        )?;
        if !survey.refused.is_empty() {
            let refused = survey.refused.iter().map(|(why, times)| format!("{why} {times}"));
            write!(f, "; refused: {}", refused.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}
