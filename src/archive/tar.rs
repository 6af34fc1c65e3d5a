//! tar as POSIX and GNU write it (tar(5)): regular files and folders, long names; nothing else gets in.

use std::io::Read;

use super::{ArchiveError, Tree, TreeFile, TreeLimits, plain, shown};

const BLOCK: usize = 512;
/// Bytes of a long name or of a head's further lines.
const MOST_NAME: u64 = 64 * 1024;

/// Reads files one after the other; nothing is made room for before it is known to fit.
pub(super) fn read(mut from: impl Read, limits: &TreeLimits) -> Result<Tree, ArchiveError> {
    let (mut tree, mut left, mut count) = (Tree::default(), limits.bytes, 0_usize);
    let mut further = Further::default();
    let mut is_first = true;
    while let Some(head) = head(&mut from, is_first)? {
        is_first = false;
        count += 1;
        if count > limits.files.saturating_mul(3).saturating_add(16) {
            return Err(too_many(limits));
        }
        let size = further.size.unwrap_or(head.size);
        match head.kind {
            b'x' | b'g' | b'L' | b'K' => {
                let text = content(&mut from, head.size, MOST_NAME)?;
                further.hear(head.kind, &text)?;
                continue;
            }
            b'0' | 0 | b'7' => {
                if size > left {
                    let why = format!("its files have more than {} bytes", limits.bytes);
                    return Err(ArchiveError::TooLarge(why));
                }
                left -= size;
                let bytes = content(&mut from, size, limits.bytes)?;
                let path = further.path.take().unwrap_or(head.path);
                tree.add(&path, TreeFile { executable: head.mode & 0o100 != 0, bytes }, limits.depth)?;
            }
            b'5' => {
                let path = further.path.take().unwrap_or(head.path);
                content(&mut from, size, 0)?;
                if !matches!(path.trim_end_matches('/'), "" | ".") {
                    plain(&path, limits.depth)?;
                }
            }
            _ => {
                let path = further.path.take().unwrap_or(head.path);
                let why = "is a link or a special file; put the file itself there (tar --dereference)";
                return Err(ArchiveError::Refused { path: shown(&path), why });
            }
        }
        further = Further::default();
        if tree.files.len() > limits.files {
            return Err(too_many(limits));
        }
    }
    Ok(tree)
}

fn too_many(limits: &TreeLimits) -> ArchiveError {
    ArchiveError::TooLarge(format!("it has more than {} files", limits.files))
}

fn broken(why: &str) -> ArchiveError {
    ArchiveError::Broken(why.to_owned())
}

struct Head {
    path: String,
    mode: u64,
    size: u64,
    kind: u8,
}

/// What stands before a head and holds for it alone.
#[derive(Default)]
struct Further {
    path: Option<String>,
    size: Option<u64>,
}

impl Further {
    fn hear(&mut self, kind: u8, text: &[u8]) -> Result<(), ArchiveError> {
        match kind {
            b'L' => {
                let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
                self.path = Some(utf8(text.get(..end).unwrap_or_default())?);
            }
            // `length key=value\n` again and again (pax).
            b'x' => {
                let mut rest = text;
                while !rest.is_empty() {
                    let space =
                        rest.iter().position(|byte| *byte == b' ').ok_or_else(|| broken("a head is cut off"))?;
                    let length: usize = utf8(rest.get(..space).unwrap_or_default())?
                        .parse()
                        .map_err(|_| broken("a head is no head"))?;
                    let line = rest.get(space + 1..length).ok_or_else(|| broken("a head is cut off"))?;
                    let line = utf8(line.strip_suffix(b"\n").unwrap_or(line))?;
                    match line.split_once('=') {
                        Some(("path", path)) => self.path = Some(path.to_owned()),
                        Some(("size", size)) => {
                            self.size = Some(size.parse().map_err(|_| broken("a size is no number"))?);
                        }
                        Some(_) | None => {}
                    }
                    rest = rest.get(length..).unwrap_or_default();
                }
            }
            // What holds for all files, and names of links, is nothing of ours.
            _ => {}
        }
        Ok(())
    }
}

/// The next head; `None` at the end.
fn head(from: &mut impl Read, is_first: bool) -> Result<Option<Head>, ArchiveError> {
    let mut block = [0_u8; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        let read =
            from.read(block.get_mut(filled..).unwrap_or_default()).map_err(|fault| broken(&fault.to_string()))?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    if filled == 0 && !is_first {
        return Ok(None);
    }
    if filled < BLOCK {
        return Err(broken("it is cut off"));
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let part = |from: usize, length: usize| block.get(from..from + length).unwrap_or_default();
    let sum: u64 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
    if number(part(148, 8))? != sum {
        return Err(broken("a head has a wrong sum"));
    }
    let text = |bytes: &[u8]| utf8(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
    let mut path = text(part(0, 100))?;
    if part(257, 6) == b"ustar\0" {
        let prefix = text(part(345, 155))?;
        if !prefix.is_empty() {
            path = format!("{prefix}/{path}");
        }
    }
    let kind = part(156, 1).first().copied().unwrap_or(0);
    Ok(Some(Head { path, mode: number(part(100, 8))?, size: number(part(124, 12))?, kind }))
}

/// An octal number, or one of GNU in base 256.
fn number(bytes: &[u8]) -> Result<u64, ArchiveError> {
    if let Some((first, rest)) = bytes.split_first()
        && first & 0x80 != 0
    {
        let wide = rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |sum, byte| sum.checked_mul(256).map(|sum| sum + u64::from(*byte)));
        return wide.ok_or_else(|| broken("a number is too large"));
    }
    let digits: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, 0 | b' ')).collect();
    if digits.is_empty() {
        return Ok(0);
    }
    let text = utf8(&digits)?;
    u64::from_str_radix(&text, 8).map_err(|_| broken("a number is no number"))
}

/// What belongs to a head, without its padding.
fn content(from: &mut impl Read, size: u64, most: u64) -> Result<Vec<u8>, ArchiveError> {
    if size > most {
        return Err(ArchiveError::TooLarge("a head or a file in it is larger than that may be".to_owned()));
    }
    let mut bytes = Vec::new();
    let read = from.by_ref().take(size).read_to_end(&mut bytes).map_err(|fault| broken(&fault.to_string()))?;
    if read as u64 != size {
        return Err(broken("it is cut off"));
    }
    let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    let mut rest = Vec::new();
    let read = from.by_ref().take(padding).read_to_end(&mut rest).map_err(|fault| broken(&fault.to_string()))?;
    if read as u64 == padding { Ok(bytes) } else { Err(broken("it is cut off")) }
}

fn utf8(bytes: &[u8]) -> Result<String, ArchiveError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| broken("a name is no UTF-8"))
}

/// Writes a tree as GNU tar does; folders are not named.
pub(super) fn write(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, file) in &tree.files {
        if path.len() > 100 {
            let name = [path.as_bytes(), &[0]].concat();
            entry(&mut out, "././@LongLink", (b'L', 0o644), &name);
        }
        let short =
            path.char_indices().take_while(|(at, c)| at + c.len_utf8() <= 100).map(|(_, c)| c).collect::<String>();
        entry(&mut out, &short, (b'0', if file.executable { 0o755 } else { 0o644 }), &file.bytes);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn entry(out: &mut Vec<u8>, name: &str, (kind, mode): (u8, u32), bytes: &[u8]) {
    let mut head = Vec::with_capacity(BLOCK);
    head.extend_from_slice(name.as_bytes());
    head.resize(100, 0);
    head.extend_from_slice(format!("{mode:07o}\0{:07o}\0{:07o}\0", 0, 0).as_bytes());
    head.extend_from_slice(format!("{:011o}\0{:011o}\0", bytes.len(), 0).as_bytes());
    head.extend_from_slice(b"        ");
    head.push(kind);
    head.resize(257, 0);
    head.extend_from_slice(b"ustar  \0");
    head.resize(BLOCK, 0);
    let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    for (place, byte) in head.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *place = byte;
    }
    out.extend_from_slice(&head);
    out.extend_from_slice(bytes);
    out.resize(out.len().div_ceil(BLOCK) * BLOCK, 0);
}
