//! The form in which folders are kept: for each file, by path, `path NUL x|- NUL size NUL` and its bytes.

use super::{ArchiveError, Tree, TreeFile};

const FIRST: &[u8] = b"postern-folder-1\n";
/// Paths were bounded when they came.
const DEPTH: usize = usize::MAX;

pub(super) fn write(tree: &Tree) -> Vec<u8> {
    let mut out = FIRST.to_vec();
    for (path, file) in &tree.files {
        let how = if file.executable { 'x' } else { '-' };
        out.extend_from_slice(format!("{path}\0{how}\0{}\0", file.bytes.len()).as_bytes());
        out.extend_from_slice(&file.bytes);
    }
    out
}

pub(super) fn read(bytes: &[u8]) -> Result<Tree, ArchiveError> {
    let broken = || ArchiveError::Broken("what is kept is cut off".to_owned());
    let mut rest = bytes.strip_prefix(FIRST).ok_or_else(broken)?;
    let mut tree = Tree::default();
    while !rest.is_empty() {
        let mut word = || -> Result<&str, ArchiveError> {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
            let word = rest.get(..end).and_then(|word| std::str::from_utf8(word).ok()).ok_or_else(broken)?;
            rest = rest.get(end + 1..).unwrap_or_default();
            Ok(word)
        };
        let (path, how) = (word()?, word()?);
        let size: usize = word()?.parse().map_err(|_| broken())?;
        let content = rest.get(..size).ok_or_else(broken)?;
        rest = rest.get(size..).unwrap_or_default();
        tree.add(path, TreeFile { executable: how == "x", bytes: content.to_vec() }, DEPTH)?;
    }
    Ok(tree)
}
