//! What whoever asks over the control socket is answered, and a reload.

use std::sync::Arc;

use serde_json::json;
use tracing::warn;

use super::{Daemon, orders, startup, status};
use crate::{
    config,
    control::Request,
    decide::{Admin, Event},
    explain::{self, Asked, FlowError, Source},
};

impl Daemon {
    /// Answers a request with one line of JSON.
    pub(super) fn answer(&mut self, request: &Request) -> String {
        let result = match request {
            Request::Status => return self.status(),
            Request::Events => {
                return json!({ "events": self.events.iter().collect::<Vec<_>>() }).to_string();
            }
            Request::Explain { flows, established } => {
                let asked = if *established { Asked::Established } else { Asked::Opener };
                return self.explain(flows, asked);
            }
            Request::Release { cluster } => self.release(cluster),
            Request::Drain { whom } => self.administer(whom, Admin::Drained),
            Request::Undrain { whom } => self.administer(whom, Admin::InService),
            Request::Maintain { whom } => self.administer(whom, Admin::Maintenance),
            Request::Reload => self.reload(),
        };
        match result {
            Ok(done) => json!({ "done": done }).to_string(),
            Err(why) => json!({ "error": why }).to_string(),
        }
    }

    /// Reads the configuration again. What is wrong with it is said, and changes nothing.
    pub(super) fn reload(&mut self) -> Result<String, String> {
        let result = self.try_reload();
        let epoch = self.dataplane.epoch();
        if let Err(why) = &result {
            let text = format!("not reloaded, the plan in force stays: {why}");
            self.events.add(epoch, "reload_refused", "", text);
        }
        result
    }

    fn try_reload(&mut self) -> Result<String, String> {
        let checked = config::load(&self.source).map_err(|errors| errors.to_string())?;
        checked.warnings.iter().for_each(|warning| warn!("{warning}"));
        let (new, old) = (checked.config, &self.config);
        if new.lb != old.lb || new.interfaces != old.interfaces {
            return Err("[lb] and [[interface]] cannot change in a running daemon; restart it, \
                        packets go on meanwhile"
                .to_owned());
        }
        let config = Arc::new(new);
        let now = self.start.elapsed();
        let next = self.state.succeed(&config, now).map_err(|error| error.to_string())?;
        self.go_on_with(next).map_err(|error| error.to_string())?;
        self.config = Arc::clone(&config);
        if let Some(watchers) = &mut self.watchers {
            watchers.also(async move { startup::warn_about_vips(&config).await });
        }
        let done = format!("reloaded {}", self.source.display());
        self.events.tell(self.dataplane.epoch(), "reloaded", "", done.clone());
        self.step(&[]);
        Ok(done)
    }

    fn release(&mut self, name: &str) -> Result<String, String> {
        let view = self.state.view();
        let position = view.model.config.clusters.iter().position(|cluster| cluster.name == name);
        let cluster = position.ok_or_else(|| format!("there is no cluster named {name}"))?;
        let held = |pool: &usize| view.groups.get(*pool).is_some_and(|g| g.hold().is_some());
        let held = view.model.pools_of(cluster).filter(held);
        let held = held.filter_map(|pool| view.model.ids.table(pool));
        let releases: Vec<Event> = held.map(Event::Release).collect();
        if releases.is_empty() {
            return Err(format!("cluster {name} is not held back"));
        }
        self.step(&releases);
        Ok(format!("cluster {name} is released"))
    }

    /// Puts a node or a cluster in or out of service.
    fn administer(&mut self, whom: &str, admin: Admin) -> Result<String, String> {
        let order = orders::order(&self.state.view(), whom, admin)?;
        self.step(&[order]);
        if let Some(watchers) = &self.watchers {
            watchers.rest(&self.state.view());
        }
        let in_force = self.sweeper.in_force();
        let in_force = in_force.is_some_and(|intent| self.state.view().wishes_are_in(intent));
        Ok(orders::done(whom, admin, in_force))
    }

    /// Where flows go by the tables in force: a list of [`explain::Answer`], or a refusal.
    fn explain(&self, flows: &[String], asked: Asked) -> String {
        let (view, memory) = (self.state.view(), &**self.dataplane.memory());
        let one = |flow: &String| -> Result<_, FlowError> {
            Ok(explain::answer(&view, memory, Source::Daemon, &flow.parse()?, asked))
        };
        match flows.iter().map(one).collect::<Result<Vec<_>, _>>() {
            Ok(answers) => json!(answers).to_string(),
            Err(error) => json!({ "error": error.to_string() }).to_string(),
        }
    }

    fn status(&self) -> String {
        status::render(status::Known {
            state: &self.state,
            now: self.start.elapsed(),
            dataplane: &self.dataplane,
            events: &self.events,
            watched: self.watchers.as_ref().map(|w| w.watched(self.lag.longest())),
            adopted: self.adopted,
            found: self.sweeper.last(),
            is_current: self.sweeper.is_current(&self.now()),
            left: &self.left,
        })
    }
}
