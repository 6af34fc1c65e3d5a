//! The one integration-test binary: every suite is a module of it.
// The attribute lets helpers of tests unwrap as tests do.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod config;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod outbound;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
#[cfg(test)]
mod vectors;
