//! Removing a tree that an agent made: as deep, as wide and as closed as it likes.
//!
//! No recursion and no path that grows: what lies two levels below the top is moved up, right below it, so every step
//! has the same few descriptors and names. A removal that breaks off goes on where it was.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fchmod, fstat, openat, renameat, unlinkat},
    io::Errno,
    path::Arg,
};

/// Waits for processes that still write there while they are killed.
const MOST_WAITS: usize = 20;
const WAIT: Duration = Duration::from_millis(50);
/// How long one removal may take: whoever still writes there must not hold it up for ever. A later one goes on with it.
const MOST_TIME: Duration = Duration::from_mins(10);

/// Opens a directory that is no link, and makes it ours to read, write and search where its owner closed it. `within` is
/// where a relative `name` begins.
pub(super) fn open_up(within: impl AsFd, name: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(&within, name, OFlags::RDONLY | how, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let place = openat(&within, name, OFlags::PATH | how, Mode::empty())?;
            // fchmod(2) refuses such a descriptor; its link in /proc leads to this very directory (open(2), O_PATH).
            let opened = chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU);
            opened.map_err(|fault| if fault == Errno::NOENT { Errno::ACCESS } else { fault })?;
            openat(&place, c".", OFlags::RDONLY | how, Mode::empty())?
        }
        opened => opened?,
    };
    if !Mode::from_raw_mode(fstat(&dir)?.st_mode).contains(Mode::RWXU) {
        fchmod(&dir, Mode::RWXU)?;
    }
    Ok(dir)
}

/// Removes what is at `path`, if anything is: links themselves and not what they lead to, and nothing of other file
/// systems that are mounted in it. Blocks.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_within(path, MOST_TIME)
}

fn remove_within(path: &Path, limit: Duration) -> io::Result<()> {
    let top = match open_up(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return fs::remove_file(path),
        Err(fault) => return Err(fault.into()),
    };
    let until = Instant::now() + limit;
    let mut removal = Removal { device: fstat(&top)?.st_dev, top, until, free: 0, gone: 0, fault: None };
    let mut waits = 0;
    loop {
        (removal.gone, removal.fault) = (0, None);
        removal.pass()?;
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if Instant::now() >= until => return Err(Errno::TIMEDOUT.into()),
            Err(_) if removal.gone > 0 => {}
            Err(error) => {
                let is_lasting = matches!(removal.fault, Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::XDEV));
                if is_lasting || waits == MOST_WAITS {
                    return Err(removal.fault.map_or(error, io::Error::from));
                }
                waits += 1;
                thread::sleep(WAIT);
            }
        }
    }
}

struct Removal {
    top: OwnedFd,
    device: u64,
    until: Instant,
    /// The next name that is perhaps free in `top`.
    free: u64,
    /// What was removed or moved up in this pass.
    gone: usize,
    /// Why something of it stayed.
    fault: Option<Errno>,
}

impl Removal {
    /// Removes each thing in the top directory, once.
    fn pass(&mut self) -> io::Result<()> {
        for found in Dir::read_from(&self.top)? {
            let found = found?;
            // As long as somebody makes files, a directory may have no end.
            if Instant::now() >= self.until {
                break;
            }
            if !is_itself(found.file_name()) {
                let outcome = self.clear(found.file_name(), found.file_type());
                self.note(outcome);
            }
        }
        Ok(())
    }

    fn note(&mut self, outcome: rustix::io::Result<()>) {
        match outcome {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// Removes one thing of the top directory; directories in it are moved up.
    fn clear(&mut self, name: &CStr, kind: FileType) -> rustix::io::Result<()> {
        if self.unlink(&Within::Top, name, kind)? {
            return Ok(());
        }
        let dir = open_up(&self.top, name)?;
        if fstat(&dir)?.st_dev != self.device {
            return Err(Errno::XDEV);
        }
        let entries = Dir::read_from(&dir)?;
        let within = Within::Inner(dir);
        for found in entries {
            let found = found?;
            if is_itself(found.file_name()) {
                continue;
            }
            if Instant::now() >= self.until {
                return Err(Errno::TIMEDOUT);
            }
            match self.unlink(&within, found.file_name(), found.file_type()) {
                Ok(true) => {}
                Ok(false) => {
                    let outcome = self.move_up(&within, found.file_name());
                    self.note(outcome);
                }
                fault @ Err(_) => self.note(fault.map(drop)),
            }
        }
        self.unlink(&Within::Top, name, FileType::Directory).map(drop)
    }

    /// Removes a file, or a directory that is empty. `false`: it is one that is not.
    fn unlink(&mut self, within: &Within, name: &CStr, kind: FileType) -> rustix::io::Result<bool> {
        let dir = within.fd(&self.top);
        if kind != FileType::Directory {
            match unlinkat(dir, name, AtFlags::empty()) {
                // On a directory: unlink(2) of Linux, and of POSIX.
                Err(Errno::ISDIR | Errno::PERM) => {}
                outcome => {
                    self.gone += usize::from(outcome.is_ok());
                    return outcome.map(|()| true);
                }
            }
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            outcome => {
                self.gone += usize::from(outcome.is_ok());
                outcome.map(|()| true)
            }
        }
    }

    /// Moves a directory right below the top, under a name that is free there.
    fn move_up(&mut self, from: &Within, name: &CStr) -> rustix::io::Result<()> {
        let dir = from.fd(&self.top);
        let mut is_open = false;
        loop {
            match renameat(dir, name, &self.top, self.free.to_string()) {
                Ok(()) => {
                    self.free += 1;
                    self.gone += 1;
                    return Ok(());
                }
                // Taken: the next one, which ends since the directory has so many names alone.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => self.free += 1,
                // Whoever moves a directory elsewhere writes in it: rename(2).
                Err(Errno::ACCESS | Errno::PERM) if !is_open => {
                    open_up(dir, name)?;
                    is_open = true;
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// Where a name is.
enum Within {
    Top,
    Inner(OwnedFd),
}

impl Within {
    fn fd<'a>(&'a self, top: &'a OwnedFd) -> std::os::fd::BorrowedFd<'a> {
        match self {
            Self::Top => top.as_fd(),
            Self::Inner(dir) => dir.as_fd(),
        }
    }
}

fn is_itself(name: &CStr) -> bool {
    name == c"." || name == c".."
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::{Duration, Instant},
    };

    use super::remove_within;

    #[test]
    fn whoever_makes_files_for_ever_does_not_hold_it_up_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree");
        fs::create_dir_all(path.join("inner")).unwrap();
        let (stop, writing) = (AtomicBool::new(false), path.join("inner"));
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    drop(fs::create_dir_all(&writing));
                    drop(fs::write(writing.join(number.to_string()), ""));
                }
            });
            let began = Instant::now();
            let outcome = remove_within(&path, Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
            // It may have been lucky between two files.
            assert!(outcome.is_ok() || began.elapsed() >= Duration::from_millis(300));
            assert!(began.elapsed() < Duration::from_secs(20));
        });
        remove_within(&path, Duration::from_secs(60)).unwrap();
        assert!(!path.exists());
    }
}
