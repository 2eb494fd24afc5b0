//! What the lab is doing now, for whoever shows it: the scene, and the counts of the last
//! moments.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Moment,
    load::{Kind, Log, Outcome},
    topology::{NODES, NodeIndex},
};

/// The time over which what is seen now is counted.
const RECENT: Duration = Duration::from_secs(2);

/// Where the script is. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Stage {
    start: Moment,
    scene: Arc<Mutex<Scene>>,
}

#[derive(Clone, Debug)]
struct Scene {
    name: String,
    since: Moment,
}

/// The last moments of the load.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// New requests that were answered, a second, by node.
    nodes: [f64; NODES.len()],
    /// Requests that failed since the start.
    pub failed: usize,
}

impl Stage {
    /// The beginning.
    #[must_use]
    pub fn begin() -> Self {
        let start = Moment::now();
        let scene = Scene { name: "starting".to_owned(), since: start };
        Self { start, scene: Arc::new(Mutex::new(scene)) }
    }

    /// Goes on to the next scene.
    pub fn enter(&self, name: &str) {
        *self.scene() = Scene { name: name.to_owned(), since: Moment::now() };
    }

    /// The name of the scene.
    #[must_use]
    pub fn name(&self) -> String {
        self.scene().name.clone()
    }

    /// Time from the beginning to a moment.
    #[must_use]
    pub fn seconds(&self, at: Moment) -> f64 {
        at.since(self.start).as_secs_f64()
    }

    /// Counts what was seen lately, in this scene only.
    #[must_use]
    pub fn recent(&self, log: &Log) -> Recent {
        let now = Moment::now();
        let since = self.scene().since;
        let time = now.since(since).min(RECENT).as_secs_f64().max(0.1);
        let mut recent = Recent::default();
        for sample in log.samples().iter() {
            match sample.outcome {
                Outcome::Failed(_) => recent.failed += 1,
                Outcome::Node(node) => {
                    let new = sample.kind == Kind::New && sample.end >= since;
                    if new && now.since(sample.end) < RECENT {
                        recent.nodes[node.index()] += 1.0 / time;
                    }
                }
            }
        }
        recent
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Answers a second of some nodes.
    pub fn rate(&self, nodes: impl Iterator<Item = NodeIndex>) -> f64 {
        nodes.map(|node| self.nodes[node.index()]).sum()
    }

    /// The part of some nodes in all answers.
    pub fn share(&self, nodes: impl Iterator<Item = NodeIndex>) -> f64 {
        let all = self.rate(NodeIndex::all());
        if all > 0.0 { self.rate(nodes) / all } else { 0.0 }
    }
}
