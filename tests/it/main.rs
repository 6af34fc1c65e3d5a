//! The one integration-test binary: every suite is a module of it.

mod architecture;
mod config;
