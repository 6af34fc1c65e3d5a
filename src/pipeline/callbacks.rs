//! Ways back for services that work on a run.

use std::{sync::Arc, time::Duration};

use crate::{
    crypto::{self, Secret},
    domain::{
        id::TenantId,
        run::{Failure, FailureCode},
        trigger::ReplySecret,
    },
    executor::{
        BoxFuture, Stopped,
        callbacks::{self, Callbacks, Earlier, Way},
        http::HttpAccess,
    },
    pipeline::execute::Execute,
    store::{EarlierReports, Lease, RunWork, Store, StoreError},
};

/// How long the store is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Ways under the lease of one run.
pub(super) struct KeptCallbacks {
    /// Where reports are kept.
    pub(super) store: Store,
    /// Whose the run is.
    pub(super) tenant: TenantId,
    /// Without it nothing is opened.
    pub(super) lease: Lease,
    /// Where the gateway is reached from outside, without a slash at its end.
    pub(super) public_url: Option<String>,
}

impl Callbacks for KeptCallbacks {
    fn open(&self, earlier: Earlier) -> BoxFuture<'_, Result<Option<Way>, Stopped>> {
        Box::pin(async move {
            let Some(base) = &self.public_url else { return Ok(None) };
            let random = crypto::random::<32>().map_err(|fault| {
                Failure::new(FailureCode::Executor, format!("no randomness for the way back: {fault}"))
            })?;
            let token = callbacks::token(&random);
            let earlier = match earlier {
                Earlier::Keep => EarlierReports::Keep,
                Earlier::Forget => EarlierReports::Forget,
            };
            let opened = patiently(|| self.store.open_callback(&self.lease, &token, earlier)).await;
            let task = opened.ok_or(Stopped::LeaseLost)?;
            let url = format!("{base}/v1/runs/{}/report", self.lease.id);
            Ok(Some(Way { url, token: Secret::new(token), task }))
        })
    }

    fn keep_task<'a>(&'a self, task: &'a str) -> BoxFuture<'a, Result<(), Stopped>> {
        Box::pin(async move {
            let kept = patiently(|| self.store.keep_task(&self.lease, task)).await;
            if kept { Ok(()) } else { Err(Stopped::LeaseLost) }
        })
    }

    fn forget(&self) -> BoxFuture<'_, Result<(), Stopped>> {
        Box::pin(async move {
            let forgotten = patiently(|| self.store.close_callbacks(&self.lease)).await;
            if forgotten { Ok(()) } else { Err(Stopped::LeaseLost) }
        })
    }

    fn lines(&self, after: i64) -> BoxFuture<'_, Result<Vec<(i64, String)>, Stopped>> {
        Box::pin(async move { Ok(patiently(|| self.store.reported_lines(&self.tenant, &self.lease.id, after)).await) })
    }
}

impl Execute {
    /// What a run needs to reach its service; `None` for agents that are none.
    pub(super) fn http(&self, work: &RunWork) -> Result<Option<HttpAccess>, String> {
        let Some(http) = &work.agent.spec.http else { return Ok(None) };
        let headers = http.headers.iter().map(|(name, value)| Ok((name.clone(), self.value(value)?)));
        let secret = http.secret.as_ref().map(|secret| match secret {
            ReplySecret::Named(name) => self.secrets.named(name),
            ReplySecret::Reference(reference) => self.secrets.secret(reference),
        });
        Ok(Some(HttpAccess {
            headers: headers.collect::<Result<_, String>>()?,
            secret: secret.transpose()?,
            callbacks: Arc::new(KeptCallbacks {
                store: self.store.clone(),
                tenant: work.run.tenant.clone(),
                lease: work.lease.clone(),
                public_url: self.public_url.clone(),
            }),
        }))
    }
}

/// Database trouble is waited out: the lease decides when it is too late.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(work: impl Fn() -> F) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(fault) => {
                tracing::warn!(error = ?fault, "reports of a service cannot be reached; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
