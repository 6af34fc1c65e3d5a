//! Who holds leases: one name for each start of a process, from which others on the same machine can
//! tell that it is dead.

use std::path::Path;

use crate::crypto;

/// A name such as `host:1a2b3c/417/99823/x7f…`: machine and boot, process id, start time, random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    machine: String,
    name: String,
}

impl Owner {
    /// The name of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let machine = machine();
        let pid = std::process::id();
        let nonce = crypto::random::<8>().map(|bytes| data_encoding::HEXLOWER.encode(&bytes)).unwrap_or_default();
        let name = format!("{machine}/{pid}/{}/{nonce}", started(pid).unwrap_or_default());
        Self { machine, name }
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What the names of all processes of this machine, since it started, begin with.
    #[must_use]
    pub fn machine_prefix(&self) -> String {
        format!("{}/", self.machine)
    }

    /// Whether `other`, of this machine, belongs to a process that is gone.
    #[must_use]
    pub fn is_dead(&self, other: &str) -> bool {
        let Some(rest) = other.strip_prefix(&self.machine_prefix()) else { return false };
        let mut parts = rest.split('/');
        let (Some(pid), Some(start)) = (parts.next().and_then(|pid| pid.parse().ok()), parts.next()) else {
            return false;
        };
        Path::new("/proc/self/stat").exists() && started(pid).is_none_or(|now| now != start)
    }
}

/// Host name, boot and process namespace: two processes with the same value can see each other's ids.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let host = read("/proc/sys/kernel/hostname");
    let boot = read("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    let hash = crypto::sha256_hex(format!("{boot}{namespace}").as_bytes());
    format!("{}:{}", host.replace('/', "-"), &hash[..12])
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)).
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let state = after_name.split_whitespace().next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    after_name.split_whitespace().nth(19).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::Owner;

    #[test]
    fn a_process_is_dead_when_its_id_is_free_or_somebody_elses() {
        let own = Owner::of_this_process();
        assert!(!own.is_dead(own.as_str()));
        let prefix = own.machine_prefix();
        assert!(own.is_dead(&format!("{prefix}4194305/1/x")));
        assert!(own.is_dead(&format!("{prefix}{}/1/x", std::process::id())), "same id, other start");
        assert!(!own.is_dead("elsewhere:0/1/1/x"), "another machine cannot be judged from here");
    }
}
