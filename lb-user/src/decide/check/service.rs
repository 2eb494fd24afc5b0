//! Judges the table of one service: who serves whose flows.

use lb_common::Slot;

use super::{Facts, TableId, Violation, table_shape};
use crate::{
    config::{BackupMode, Fallback, Panic, Service},
    decide::{
        group::Group,
        intent::Table,
        model::{Model, Role, Seat},
        tables::{NOBODY, Withheld},
    },
};

/// Slots of a service's table by home and owner.
#[derive(Debug)]
pub(super) struct Flows {
    /// Row: home seat. Column: owner seat, then nobody.
    counts: Vec<Vec<u32>>,
    foreign: u32,
    /// Slots that name tables that ignore health, and those that name the others.
    ignoring: u32,
    minding: u32,
}

impl Flows {
    pub(super) fn of(model: &Model, service: usize, slots: &[Slot]) -> Self {
        let seats = model.seats(service);
        let mut flows = Self {
            counts: vec![vec![0; seats.len() + 1]; seats.len()],
            foreign: 0,
            ignoring: 0,
            minding: 0,
        };
        let home = model.service_order(service).home();
        // While it moves the table may be larger: each slot is split.
        let split = (slots.len() / home.len()).checked_ilog2().unwrap_or(0);
        for (i, slot) in slots.iter().enumerate() {
            let Some(&home) = home.get(i >> split) else { continue };
            let Some(member) = slot.member() else {
                if home != NOBODY {
                    flows.counts[usize::from(home)][seats.len()] += 1;
                }
                continue;
            };
            // A table that ignores health is for all that send to its cluster's port.
            let table = model.ids.table_of(member);
            let ignores = table.is_some_and(|table| table >= model.pools.pools.len());
            let seat = seats.iter().position(|seat| match ignores {
                true => model.variant_of(seat.pool) == table,
                false => Some(seat.pool) == table,
            });
            match (seat, home) {
                (None, _) | (_, NOBODY) => flows.foreign += 1,
                (Some(seat), home) => flows.counts[usize::from(home)][seat] += 1,
            }
            *if ignores { &mut flows.ignoring } else { &mut flows.minding } += 1;
        }
        flows
    }
}

/// A service's seats under the rules M5 to M11.
struct Court<'a> {
    config: &'a Service,
    seats: &'a [Seat],
    groups: &'a [Group],
    /// No seat with a weight is healthy.
    panics: bool,
}

pub(super) fn judge(
    facts: &Facts<'_>,
    service: usize,
    table: &Table,
    flows: &Flows,
    found: &mut Vec<Violation>,
) {
    let name = TableId::Service(service);
    let (model, config) = (facts.model, &facts.model.config.services[service]);
    let seats = model.seats(service);
    let healthy = |seat: &Seat| seat.weight > 0 && facts.decision.groups[seat.pool].healthy;
    let panics = !seats.iter().any(healthy);
    let court = Court { config, seats, groups: &facts.decision.groups, panics };
    let members = config.members().filter(|member| !member.leaving).count();
    table_shape(name, table, members, found);
    let wrong_kind =
        if panics && config.panic == Panic::All { flows.minding } else { flows.ignoring };
    if flows.foreign + wrong_kind > 0 {
        found.push(Violation::Foreign { table: name, slots: flows.foreign + wrong_kind });
    }
    for (owner, seat) in seats.iter().enumerate() {
        let slots = flows.counts.iter().map(|row| row[owner]).sum();
        if slots > 0 && !court.may_serve(owner) {
            found.push(Violation::MayNotServe { table: name, member: seat.pool, slots });
        }
    }
    let homes: Vec<usize> =
        (0..seats.len()).filter(|&home| flows.counts[home].iter().any(|&n| n > 0)).collect();
    let all_well = homes.iter().all(|&home| court.serves_its_own(home));
    for &home in &homes {
        court.judge_home(service, home, &flows.counts[home], found);
    }
    for (standby, seat) in seats.iter().enumerate() {
        let loaded = flows.counts.iter().any(|row| row[standby] > 0);
        if seat.role == Role::Standby && loaded && all_well {
            found.push(Violation::StandbyLoaded { service, cluster: seat.pool });
        }
    }
}

impl Court<'_> {
    fn group(&self, seat: usize) -> Group {
        self.groups[self.seats[seat].pool]
    }

    fn held(&self, seat: usize) -> bool {
        self.group(seat).healthy && self.group(seat).held && !self.last_resort(seat)
    }

    /// Whether it serves whatever its threshold says, because it is a standby and no other one
    /// is healthy and free (M8).
    fn last_resort(&self, seat: usize) -> bool {
        let free = |s: usize| {
            let group = self.group(s);
            self.is(s, Role::Standby) && self.seats[s].weight > 0 && group.healthy && !group.held
        };
        let wanted = self.config.fallback == Fallback::LastResort && !self.panics;
        wanted
            && self.is(seat, Role::Standby)
            && self.group(seat).count.alive > 0
            && !(0..self.seats.len()).any(free)
    }

    fn is(&self, seat: usize, role: Role) -> bool {
        self.seats[seat].role == role
    }

    fn may_serve(&self, seat: usize) -> bool {
        let group = self.group(seat);
        let able = match (self.panics, self.config.panic) {
            (false, _) => group.healthy || self.last_resort(seat),
            (true, Panic::Alive) => group.count.alive > 0,
            (true, Panic::All) => self.is(seat, Role::Master) && group.count.total > 0,
            (true, Panic::Drop) => false,
        };
        able && self.seats[seat].weight > 0
    }

    /// It gets all of what it may serve at once.
    fn is_whole(&self, seat: usize) -> bool {
        self.group(seat).withheld == Withheld::default()
    }

    fn serves_its_own(&self, home: usize) -> bool {
        self.may_serve(home) && !self.held(home) && self.is_whole(home)
    }

    /// Who may stand in for a home, in which rank: lower comes first, equal ones share.
    fn rank(&self, home: usize, seat: usize) -> Option<(bool, u8, u32)> {
        let standby = self.is(seat, Role::Standby);
        let carrier = match self.config.mode {
            BackupMode::None => false,
            BackupMode::OneStandby | BackupMode::MultiStandby => standby,
            BackupMode::MultiMaster => !standby,
        };
        let stage = match self.config.fallback {
            _ if seat == home => 0,
            _ if carrier => 1,
            Fallback::LastResort if standby => 2,
            Fallback::LastResort | Fallback::Masters if !standby => 3,
            _ => return None,
        };
        let tier = if seat == home { 0 } else { u32::MAX - self.seats[seat].priority };
        self.may_serve(seat).then(|| (self.held(seat), stage, tier))
    }

    fn judge_home(&self, service: usize, home: usize, row: &[u32], found: &mut Vec<Violation>) {
        let table = TableId::Service(service);
        let all = || 0..self.seats.len();
        let ranked = |seat: usize| self.rank(home, seat);
        let (nobody, total) = (row[self.seats.len()], row.iter().sum::<u32>());
        if self.serves_its_own(home) && row[home] < total {
            let (cluster, slots) = (self.seats[home].pool, total - row[home]);
            found.push(Violation::LostHome { service, cluster, slots });
        }
        if nobody > 0 && all().any(|seat| ranked(seat).is_some()) {
            found.push(Violation::Dropped { table, slots: nobody });
        }
        for (owner, seat) in self.seats.iter().enumerate().filter(|(owner, _)| row[*owner] > 0) {
            let cluster = seat.pool;
            // While better ones come back in parts, others serve the rest: whoever has more parts.
            let has_its = |other: &usize| {
                self.held(owner) && !self.held(*other)
                    || self.group(*other).withheld <= self.group(owner).withheld
            };
            let best = all().filter(has_its).filter_map(ranked).min();
            match (ranked(owner), best) {
                (Some(rank), Some(best)) if (rank.0, rank.1) > (best.0, best.1) => {
                    found.push(Violation::OutOfTurn { service, cluster });
                }
                (Some(rank), Some(best)) if rank > best => {
                    found.push(Violation::LowerTier { table, member: cluster });
                }
                (None, _) if self.may_serve(owner) => {
                    found.push(Violation::OutOfTurn { service, cluster });
                }
                _ => {}
            }
        }
    }
}
