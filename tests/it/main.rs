//! The one integration-test binary: every suite is a module of it.
// The attribute lets helpers of tests unwrap as tests do.

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod config;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod e2e;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod outbound;
#[cfg(test)]
mod support;
#[cfg(test)]
mod vectors;
