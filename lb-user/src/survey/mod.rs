//! The survey: one datagram asks a node's agent, or many agents at once, for the state of its
//! servers. [`wire`] has the format, [`Asker`] is the load balancer's side; the other side is
//! [`crate::agent`].

mod asker;
mod link;
mod refusal;
mod rounds;
pub mod wire;

pub use asker::{Asker, Options, SurveyError};
pub use refusal::{Refusal, Refusals};
pub use rounds::{Announcement, Counts};
