//! Waits for grace periods: when running programs of earlier epochs have ended.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tracing::error;

use super::Input;
use crate::dataplane::grace::Grace;

/// Pause before a grace period is asked for again that could not be waited for.
const GRACE_RETRY: Duration = Duration::from_millis(500);

/// Waits for a grace period after each epoch, off the loop's way; several epochs need one only.
pub(super) fn wait_for(
    mut grace: Grace,
    epochs: &std::sync::mpsc::Receiver<u64>,
    done: &UnboundedSender<Input>,
) {
    let mut again = None;
    while let Some(mut epoch) = again.take().or_else(|| epochs.recv().ok()) {
        while let Ok(later) = epochs.try_recv() {
            epoch = later;
        }
        match grace.wait() {
            Ok(()) => {
                if done.send(Input::Graced(epoch)).is_err() {
                    return;
                }
            }
            Err(error) => {
                error!("cannot wait for a grace period, trying again: {error}");
                std::thread::sleep(GRACE_RETRY);
                again = Some(epoch);
            }
        }
    }
}
