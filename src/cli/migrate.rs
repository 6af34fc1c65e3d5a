//! `migrate`: brings the database's schema up to date.

use std::process::ExitCode;

use serde_json::json;

use crate::{
    app,
    cli::{Context, output},
    config::secrets::Secrets,
};

pub(super) async fn migrate(context: &Context) -> anyhow::Result<ExitCode> {
    let Some(loaded) = output::load_settings(context) else { return Ok(ExitCode::from(1)) };
    #[cfg(feature = "sabotage")]
    crate::sabotage::arm(context.environment.get(crate::sabotage::VARIABLE)).map_err(anyhow::Error::msg)?;
    let secrets = Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings);
    let store = app::open_store(&loaded.settings, &secrets).await?;
    let before = store.schema_version().await?;
    store.migrate().await?;
    let after = store.schema_version().await?;
    store.close().await;
    let database = app::shown_url(&loaded.settings);
    if context.json {
        output::json(&json!({"database": database, "from": before, "to": after}));
    } else if before == after {
        output::line(format!("{database} is up to date (schema {after})"));
    } else {
        output::line(format!("{database}: schema {before} → {after}"));
    }
    Ok(ExitCode::SUCCESS)
}
