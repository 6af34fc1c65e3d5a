//! `keys`: API keys, kept in the project's database by their hash. A key is shown once.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    app::{self, DEFAULT_TENANT},
    cli::{Context, output, table},
    config::secrets::Secrets,
    domain::id::{KeyId, TenantId},
    store::Store,
};

/// What to do with keys.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; it is shown only now.
    Create {
        /// What it is for.
        name: String,
    },
    /// List the keys, without the keys themselves.
    List,
    /// Make a key open nothing any more.
    Revoke {
        /// Its id, key_…
        id: KeyId,
    },
}

pub(super) async fn keys(context: &Context, arguments: &Keys) -> anyhow::Result<ExitCode> {
    let Some(loaded) = output::load_settings(context) else { return Ok(ExitCode::from(1)) };
    let secrets = Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings);
    let store = app::open_store(&loaded.settings, &secrets).await?;
    let done = with_store(context, &store, &arguments.action).await;
    store.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn with_store(context: &Context, store: &Store, action: &Action) -> anyhow::Result<()> {
    store.check_schema().await?;
    let tenant = store.ensure_tenant(DEFAULT_TENANT).await?;
    match action {
        Action::Create { name } => create(context, store, &tenant, name).await,
        Action::List => list(context, store, &tenant).await,
        Action::Revoke { id } => {
            if !store.revoke_key(&tenant, id).await? {
                anyhow::bail!("there is no key {id}; `postern keys list` shows them");
            }
            if context.json {
                output::json(&json!({"id": id, "revoked": true}));
            } else {
                output::line(format!("{id} opens nothing any more"));
            }
            Ok(())
        }
    }
}

async fn create(context: &Context, store: &Store, tenant: &TenantId, name: &str) -> anyhow::Result<()> {
    let key = app::keys::fresh().context("the system has no randomness to give")?;
    let record = store.add_key(tenant, name, &key).await?;
    if context.json {
        output::json(&json!({"id": record.id, "name": record.name, "api_key": key}));
    } else {
        output::line(format!("{} made. The key, shown only now:\n\n  export POSTERN_API_KEY={key}\n", record.id));
    }
    Ok(())
}

async fn list(context: &Context, store: &Store, tenant: &TenantId) -> anyhow::Result<()> {
    let keys = store.keys(tenant).await?;
    if context.json {
        output::json(&json!({"items": keys, "next": null}));
        return Ok(());
    }
    let rows: Vec<[String; 4]> = keys
        .iter()
        .map(|key| {
            let revoked = key.revoked_at.map_or_else(|| "-".to_owned(), |at| table::when(&json!(at)));
            [key.id.clone(), table::when(&json!(key.created_at)), revoked, key.name.clone()]
        })
        .collect();
    table::table(["ID", "CREATED", "REVOKED", "NAME"], &rows);
    Ok(())
}
