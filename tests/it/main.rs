//! The one integration-test binary: every suite is a module of it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "seeds and reports are told to whoever reads a failure")]

mod abuse;
mod architecture;
mod bodies;
mod bounces;
mod carriers;
mod chaos;
mod cli;
mod clients;
mod config;
mod config_context;
mod config_dangers;
mod demo;
mod docs;
mod e2e;
mod evals;
mod executor_anthropic;
mod executor_claude;
mod executor_clis;
mod executor_codes;
mod executor_command;
mod executor_elsewhere;
mod executor_killed;
mod executor_mcp;
mod executor_options;
mod executor_permissions;
mod executor_places;
mod executor_replay;
mod executor_skills;
mod executor_spent;
mod executor_steered;
mod explain;
mod fetches;
mod fuzz;
mod idle;
mod layers;
mod mail;
mod mailbox;
mod media;
mod outbound;
mod pressure;
mod queue;
mod recovery;
mod repositories;
mod schedules;
mod skills;
mod store;
mod support;
mod texting;
mod tools;
mod trees;
mod vectors;
