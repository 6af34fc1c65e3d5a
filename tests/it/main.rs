//! The one integration-test binary: every suite is a module of it.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod config;
