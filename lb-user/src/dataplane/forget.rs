//! A daemon that does not know what the plan in force names forgets its pins: when they go, and which
//! commits there may be meanwhile.
//!
//! No packet looks for pins by a plan without moved slots. So the first plan, of which none has moved, is
//! put in force, and once all packets go by it the pins are removed. Until then the maps do not name its
//! file: a daemon that starts meanwhile does not know what the pins name either, and forgets them, too.

use super::{
    live,
    memory::Memory,
    writer::{CommitError, Writer},
};
use crate::decide::Intent;

/// What is to be forgotten, and what is committed meanwhile.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    stage: Stage,
    /// That of the plans that are committed, whether the maps name it or not.
    file: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// There is nothing to forget.
    #[default]
    Done,
    /// Packets still go by the plan that the pins are of.
    Wanted,
    /// This epoch put the first plan without moved slots in force.
    Since(u64),
}

impl Forgetting {
    /// All pins are to go with the next plan, of which no slot may have moved.
    pub(super) fn begin(&mut self) {
        self.stage = Stage::Wanted;
    }

    /// What is committed from now on goes with this file.
    pub(super) fn name_file(&mut self, file: u64) {
        self.file = file;
    }

    /// As [`Writer::commit`]; [`CommitError::Busy`], too, until the pins are gone.
    pub(super) fn commit(
        &mut self,
        writer: &mut Writer,
        memory: &Memory,
        intent: &Intent,
    ) -> Result<u64, CommitError> {
        let file = match self.stage {
            Stage::Done => self.file,
            Stage::Wanted => 0,
            // Its slots may have moved, and packets look for pins.
            Stage::Since(_) => return Err(CommitError::Busy),
        };
        writer.name_file(file);
        let epoch = writer.commit(memory, intent)?;
        if self.stage == Stage::Wanted {
            self.stage = Stage::Since(epoch);
        }
        Ok(epoch)
    }

    /// A grace period begun under `epoch` has ended. Whether the pins are gone now, so that the plan in
    /// force is to be committed again for its file to be named.
    pub(super) fn graced(&mut self, memory: &Memory, epoch: u64) -> bool {
        if !matches!(self.stage, Stage::Since(since) if since <= epoch) {
            return false;
        }
        live::remove_pins(memory);
        self.stage = Stage::Done;
        self.file != 0
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{PinBucket, PinEntry, pin::PIN_WAYS};

    use super::*;

    const PINS: PinBucket = PinBucket { ways: [PinEntry { tag: 5, value: 6 }; PIN_WAYS] };

    #[test]
    fn the_file_is_named_only_when_the_pins_are_gone() {
        let memory = Memory::anonymous().expect("memory");
        let (mut writer, intent) = (Writer::adopt(&memory), Intent::default());
        let mut forgetting = Forgetting::default();
        // What the daemon before left.
        forgetting.name_file(7);
        assert_eq!(forgetting.commit(&mut writer, &memory, &intent), Ok(1));
        memory.pins.set(3, PINS);
        let found_by_the_next = || Writer::adopt(&memory).file();
        assert_eq!(found_by_the_next(), 7);

        let (mut writer, mut forgetting) = (Writer::adopt(&memory), Forgetting::default());
        forgetting.begin();
        forgetting.name_file(8);
        assert_eq!(forgetting.commit(&mut writer, &memory, &intent), Ok(2));
        assert_eq!((found_by_the_next(), memory.pins.get(3)), (0, Some(PINS)));
        assert_eq!(forgetting.commit(&mut writer, &memory, &intent), Err(CommitError::Busy));
        assert!(!forgetting.graced(&memory, 1), "packets may go by the plan before");
        assert_eq!((found_by_the_next(), memory.pins.get(3)), (0, Some(PINS)));
        assert!(forgetting.graced(&memory, 2), "the file is to be named");
        assert_eq!((found_by_the_next(), memory.pins.get(3)), (0, Some(PinBucket::default())));
        assert_eq!(forgetting.commit(&mut writer, &memory, &intent), Ok(3));
        assert_eq!(found_by_the_next(), 8);
        assert!(!forgetting.graced(&memory, 3), "once is enough");
    }
}
