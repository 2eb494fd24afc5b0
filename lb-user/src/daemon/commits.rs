//! Puts in force what was published: when there is room, and what is done if there is none.

use tokio::time::Instant;
use tracing::{error, warn};

use super::Daemon;
use crate::{dataplane::writer::CommitError, decide::Event};

impl Daemon {
    /// Commits what is pending, if there is room.
    pub(super) fn commit(&mut self) {
        let Some(intent) = self.pending.take() else { return };
        let begin = Instant::now();
        match self.dataplane.commit(&intent) {
            Ok(epoch) => {
                let text = format!("epoch {epoch} in force, written in {:?}", begin.elapsed());
                self.events.tell(epoch, "commit", "", text);
                self.events.close();
                self.adopted = false;
                self.remove_other_plans();
                // The thread ends only with the process.
                let _ = self.grace.send(epoch);
                if let Err(error) = self.dataplane.show(&intent) {
                    error!("cannot update the maps for people: {error}");
                }
                self.sweeper.committed(intent);
            }
            // Tried again after the grace period that is under way, unless a later plan comes.
            Err(CommitError::Busy) => self.pending = Some(intent),
            Err(CommitError::NoRoom { .. }) if self.dataplane.waits_for_grace() => {
                self.pending = Some(intent);
            }
            // Windows need memory for what was before. Better without them than not at all.
            Err(refused @ CommitError::NoRoom { .. })
                if self.state.view().tracks.ends().is_some() =>
            {
                let text = format!(
                    "{refused}; all windows close now, and connections without a pin break that \
                     are elsewhere than the plan says"
                );
                warn!("{text}");
                self.events.tell(self.dataplane.epoch(), "windows_closed", "", text);
                self.step(&[Event::CloseWindows]);
            }
            Err(refused) => {
                let text = format!("cannot commit, the plan in force stays: {refused}");
                self.events.add(self.dataplane.epoch(), "refused", "", text);
            }
        }
    }

    /// Packets that began before an epoch have ended.
    pub(super) fn graced(&mut self, epoch: u64) {
        if self.dataplane.graced(epoch) {
            // The same once more: what is in force may have its file's name now.
            self.pending = self.pending.take().or(self.sweeper.in_force().cloned());
        }
        self.sweeper.graced(epoch);
        self.commit();
    }
}
