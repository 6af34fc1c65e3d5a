//! `uploads`: folders that agents find in their mounts.

use std::{fs, io::Read as _, path::Path, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{
    archive::{Tree, TreeFile},
    cli::{
        Context,
        client::{Client, PageArguments, ServerArguments},
        output,
        table::{field, items, more, table, when, word},
    },
};

/// Bytes of what is sent at most, as the server's largest body.
const MOST_BYTES: u64 = 64 << 20;
/// Files of one folder.
const MOST_FILES: usize = 100_000;
/// Folders inside each other.
const MOST_DEPTH: usize = 32;

/// What to do with uploads.
#[derive(Debug, Args)]
pub(super) struct Uploads {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send a folder, a file, or a tar file as it is.
    Create {
        /// Which.
        path: PathBuf,
        /// What agents call it. Default: the path's last part without its endings.
        #[arg(long)]
        name: Option<String>,
    },
    /// List the uploads, the newest first.
    List(PageArguments),
    /// Show one upload and its files.
    Show {
        /// Its id, upl_…, or its name.
        name: String,
    },
    /// Remove one that no agent mounts.
    Delete {
        /// Its id, upl_…, or its name.
        name: String,
    },
}

pub(super) async fn uploads(context: &Context, arguments: &Uploads) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::Create { path, name } => {
            let (mut query, body) = content(path)?;
            let name = name.clone().map_or_else(|| name_of(path), Ok)?;
            query.push(("name", name));
            let kept = client.send("POST", &["uploads"], &query, body).await?;
            output::report(context, &kept, |upload| {
                let [id, name, files, bytes] = ["id", "name", "files", "bytes"].map(|key| word(&upload[key]));
                output::line(format!("{id} is upload `{name}`: {files} files, {bytes} bytes"));
                output::line(format!("mount it by `- {{ upload: {name}, to: /context/{name} }}`"));
            });
        }
        Action::List(page) => output::report(context, &client.get(&["uploads"], &page.query()).await?, list),
        Action::Show { name } => output::report(context, &client.get(&["uploads", name], &[]).await?, show),
        Action::Delete { name } => {
            let gone = client.send("DELETE", &["uploads", name], &[], Vec::new()).await?;
            output::report(context, &gone, |gone| output::line(format!("{} is deleted", word(&gone["id"]))));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row = |upload: &Value| {
        let [id, name, files, bytes] = ["id", "name", "files", "bytes"].map(|key| word(&upload[key]));
        [id, name, files, bytes, when(&upload["created_at"])]
    };
    let rows: Vec<[String; 5]> = items(page).iter().map(row).collect();
    table(["ID", "NAME", "FILES", "BYTES", "CREATED"], &rows);
    more(page);
}

fn show(upload: &Value) {
    for key in ["name", "id", "digest", "files", "bytes", "created_at"] {
        field(key, &upload[key]);
    }
    for file in upload["listing"].as_array().into_iter().flatten() {
        field("file", &format!("{} ({} bytes)", word(&file["path"]), word(&file["size"])).into());
    }
}

/// Parameters of a request.
type Words = Vec<(&'static str, String)>;

/// What is sent, and what is said of it.
pub(super) fn content(path: &Path) -> anyhow::Result<(Words, Vec<u8>)> {
    let found = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if found.is_dir() {
        return Ok((Vec::new(), folder(path)?.to_tar()));
    }
    let mut left = MOST_BYTES;
    let bytes = read(path, &mut left)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let is_archive = [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
    Ok((if is_archive { Vec::new() } else { vec![("file", name)] }, bytes))
}

/// A folder of the disk; links and special files are named, not followed.
pub(super) fn folder(path: &Path) -> anyhow::Result<Tree> {
    let (mut tree, mut left) = (Tree::default(), MOST_BYTES);
    let mut open = vec![(path.to_owned(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("{} cannot be read", dir.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("{}: a name is no UTF-8", dir.display()))?;
            let inside = format!("{prefix}{name}");
            let found = entry.metadata()?;
            if found.is_dir() {
                open.push((entry.path(), format!("{inside}/")));
            } else if found.is_file() {
                use std::os::unix::fs::PermissionsExt as _;
                let executable = found.permissions().mode() & 0o100 != 0;
                tree.add(&inside, TreeFile { executable, bytes: read(&entry.path(), &mut left)? }, MOST_DEPTH)?;
            } else {
                anyhow::bail!("{} is a link or a special file; put the file itself there", entry.path().display());
            }
            anyhow::ensure!(tree.files.len() <= MOST_FILES, "{} has more than {MOST_FILES} files", path.display());
        }
    }
    Ok(tree)
}

fn read(path: &Path, left: &mut u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let read = file.take(*left + 1).read_to_end(&mut bytes)?;
    *left = left.checked_sub(read as u64).with_context(|| {
        format!("{} makes it larger than {MOST_BYTES} bytes, which is all that a server takes", path.display())
    })?;
    Ok(bytes)
}

fn name_of(path: &Path) -> anyhow::Result<String> {
    let real = fs::canonicalize(path)?;
    let last = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = last.split('.').find(|part| !part.is_empty()).unwrap_or_default().to_lowercase();
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(64).collect();
    anyhow::ensure!(!name.is_empty(), "give it a name with --name");
    Ok(name)
}
