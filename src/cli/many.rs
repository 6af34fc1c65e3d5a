//! Which runs or deliveries a command is about, and doing it to many at once.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Context, client::Client, output, table::word};

/// Which runs or deliveries, by what they have in common.
#[derive(Debug, Args)]
pub(super) struct FilterArguments {
    /// Only those in this state; several as failed,canceled.
    #[arg(long)]
    state: Option<String>,
    /// Only those of this agent.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only those whose event came by this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those made since: 2026-11-21T14:00:00Z, 2026-11-21, or 2h for two hours ago.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those made before.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl FilterArguments {
    /// As parameters of a query, which are the keys of a filter, too.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("state", &self.state),
            ("agent", &self.agent),
            ("source", &self.source),
            ("since", &self.since),
            ("until", &self.until),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// Those named, or all.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["ids", "all"])]
pub(super) struct WhichArguments {
    /// Their ids.
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// All that the filters mean.
    #[arg(long)]
    pub(super) all: bool,
    /// Tell how many it would be, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl WhichArguments {
    /// The one that is meant, when it is named and really meant.
    pub(super) fn only(&self) -> Option<&str> {
        match (self.ids.as_slice(), self.dry_run) {
            ([id], false) => Some(id),
            (_, _) => None,
        }
    }

    /// The request, for a filter given as a query.
    pub(super) fn body(&self, filter: &[(&'static str, String)]) -> anyhow::Result<Value> {
        if self.all {
            let filter: Value = filter.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            return Ok(json!({"filter": filter, "dry_run": self.dry_run}));
        }
        if !filter.is_empty() {
            anyhow::bail!("name ids, or write --all with filters; not both");
        }
        Ok(json!({"ids": self.ids, "dry_run": self.dry_run}))
    }
}

/// Asks until all is done; what came of it in all. `word` says what was done, such as `retried`.
pub(super) async fn work(
    context: &Context,
    client: &Client,
    path: &[&str],
    mut body: Value,
    done: &str,
) -> anyhow::Result<()> {
    let mut total = client.post(path, &[], &body).await?;
    let mut last = total.clone();
    while last["next"].is_object() {
        for key in ["after", "not_before"] {
            body[key] = last["next"][key].clone();
        }
        last = client.post(path, &[], &body).await?;
        total["changed"] = json!(total["changed"].as_i64().unwrap_or(0) + last["changed"].as_i64().unwrap_or(0));
        if let (Value::Array(all), Value::Array(more)) = (&mut total["refused"], &last["refused"]) {
            all.extend(more.iter().cloned());
        }
    }
    total["next"] = Value::Null;
    output::report(context, &total, |total| {
        if total["dry_run"] == true {
            output::line(format!("{} would be {done}", word(&total["matched"])));
            for id in total["ids"].as_array().into_iter().flatten() {
                output::line(output::one_line(&format!("  {}", word(id)), 200));
            }
            return;
        }
        output::line(format!("{} {done}", word(&total["changed"])));
        for refused in total["refused"].as_array().into_iter().flatten() {
            let [id, detail] = ["id", "detail"].map(|key| word(&refused[key]));
            output::line(output::one_line(&format!("not {id}: {detail}"), 200));
        }
    });
    if !total["refused"].as_array().is_none_or(Vec::is_empty) && body["filter"].is_null() {
        anyhow::bail!("not all of them could be {done}");
    }
    Ok(())
}
