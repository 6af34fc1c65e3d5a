//! `runs artifacts`: what a run left for people.

use std::{
    fs,
    io::Write as _,
    path::{Component, Path},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::{
    Context,
    client::Client,
    output,
    table::{items, table, word},
};

/// Lists a run's artifacts, and saves their bytes below `out` where that is named.
pub(super) async fn artifacts(context: &Context, client: &Client, run: &str, out: Option<&Path>) -> anyhow::Result<()> {
    let mut page = client.get(&["runs", run, "artifacts"], &[]).await?;
    if let Some(out) = out {
        let mut saved = Vec::new();
        for artifact in items(&page).iter().filter(|artifact| artifact["left_out"].is_null()) {
            let name = word(&artifact["name"]);
            let parts: Vec<&str> = ["runs", run, "artifacts"].into_iter().chain(name.split('/')).collect();
            saved.push(save(out, &name, &client.bytes(&parts).await?)?);
        }
        page["saved"] = json!(saved);
    }
    output::report(context, &page, list);
    Ok(())
}

fn list(page: &Value) {
    let row = |artifact: &Value| {
        let hash: String = word(&artifact["sha256"]).chars().take(12).collect();
        let state =
            if artifact["left_out"].is_null() { hash } else { format!("left out: {}", word(&artifact["left_out"])) };
        [word(&artifact["name"]), word(&artifact["size"]), word(&artifact["content_type"]), state]
    };
    let rows: Vec<[String; 4]> = items(page).iter().map(row).collect();
    table(["NAME", "BYTES", "TYPE", "SHA-256"], &rows);
    for path in page["saved"].as_array().into_iter().flatten() {
        output::line(format!("saved {}", word(path)));
    }
}

/// Writes a file that is not there yet. The name was made by an agent: it may lead nowhere but below `out`.
fn save(out: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let inner = Path::new(name);
    if name.is_empty() || !inner.components().all(|part| matches!(part, Component::Normal(_))) {
        anyhow::bail!("the artifact `{}` has a name that leads elsewhere; it was not saved", name.escape_default());
    }
    let path = out.join(inner);
    let folder = path.parent().unwrap_or(out);
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("{} cannot be made; name a folder that does not hold it yet", path.display()))?;
    file.write_all(bytes).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::save;

    #[test]
    fn names_of_agents_lead_nowhere_else_and_overwrite_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        for name in ["../x", "/etc/x", "a/../../x", "", "."] {
            assert!(save(&out, name, b"x").is_err(), "{name}");
        }
        save(&out, "a/b.txt", b"first").unwrap();
        assert!(save(&out, "a/b.txt", b"second").is_err());
        assert_eq!(std::fs::read(out.join("a/b.txt")).unwrap(), b"first");
        assert!(!dir.path().join("x").exists());
    }
}
