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
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fchmod, fstat, openat, renameat, unlinkat},
    io::Errno,
    path::Arg,
};

/// Waits for processes that still write there while they are killed.
const MOST_WAITS: usize = 20;
const WAIT: Duration = Duration::from_millis(50);

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
    let top = match open_up(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return fs::remove_file(path),
        Err(fault) => return Err(fault.into()),
    };
    let mut removal = Removal { device: fstat(&top)?.st_dev, top, free: 0, gone: 0, fault: None };
    let mut waits = 0;
    loop {
        (removal.gone, removal.fault) = (0, None);
        removal.pass()?;
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
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
