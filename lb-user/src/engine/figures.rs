//! What the engine did and saw, as `status` shows it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::schedule;
use crate::{
    survey::{Counts, Refusal},
    vippath,
};

/// What the engine did and saw since it was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// When checks were made, and which outcomes counted.
    #[serde(flatten)]
    pub checked: schedule::Figures,
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

/// What [`Figures`] are summed up from, when somebody asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    /// By the schedule.
    pub(super) checked: schedule::Figures,
    /// By each asker of surveys.
    pub(super) surveyed: Vec<Counts>,
    /// On the way through VIPs.
    pub(super) via_vip: Option<vippath::Counts>,
}

impl From<Counted> for Figures {
    fn from(Counted { checked, surveyed, via_vip }: Counted) -> Self {
        let survey = surveyed.into_iter().map(Survey::from).reduce(Survey::and);
        Self { checked, survey, via_vip }
    }
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
        let of = &self.checked;
        write!(
            f,
            "checks  {} targets, {} under way, {} made; at worst {:.1} ms late lately",
            of.targets,
            of.in_flight,
            of.checks,
            of.worst_lag.as_secs_f64() * 1000.0
        )?;
        if of.starved + of.path_down + of.local > 0 {
            write!(
                f,
                "\n        did not count: {} while the daemon was starved, {} behind an own way \
                 that was down ({} down now), {} that this host could not make",
                of.starved, of.path_down, of.ways_down, of.local
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
            survey.questions, of.confirmations, survey.answers, survey.announcements
        )?;
        if !survey.refused.is_empty() {
            let refused = survey.refused.iter().map(|(why, times)| format!("{why} {times}"));
            write!(f, "; refused: {}", refused.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}
