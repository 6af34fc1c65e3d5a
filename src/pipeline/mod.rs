//! The product: intake · execute · deliver · sweep.

mod answering;
pub mod collect;
mod copies;
pub mod deliver;
pub mod execute;
pub mod fetch;
mod flow;
mod groups;
pub mod hops;
pub mod intake;
pub mod join;
mod prompt;
mod record;
pub mod retention;
mod retry;
pub mod routes;
pub mod schedules;
pub mod senders;
mod servers;
mod steer;
pub mod sweep;
pub mod tasks;
pub mod thread;
pub mod tidy;
mod transcripts;
pub mod upkeep;
pub mod waiting;
