//! The app in this process, on a project of the test's own.

use std::ops::Deref;

use postern::{
    app::{App, Role},
    config::{bundle, environment::Environment, load::Project},
};

use crate::support::{e2e_client::Api, e2e_project::TestProject};

/// A running gateway with workers. It is stopped by [`TestApp::stop`].
pub(crate) struct TestApp {
    pub(crate) app: App,
    pub(crate) api: Api,
    pub(crate) project: TestProject,
}

impl Deref for TestApp {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl TestApp {
    /// Starts what the project says.
    pub(crate) async fn start(project: TestProject) -> Self {
        Self::open(project, None).await
    }

    /// Starts it once more, on the records of the first start, which gave `key`.
    pub(crate) async fn start_again(project: TestProject, key: String) -> Self {
        Self::open(project, Some(key)).await
    }

    async fn open(project: TestProject, key: Option<String>) -> Self {
        let environment = Environment::of(project.variables());
        let loaded = Project::load(project.path(), &environment).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut app = App::start(&loaded, &environment, Role::All).await.unwrap_or_else(|fault| panic!("{fault:?}"));
        let api = Api { address: app.address.unwrap(), key: key.or_else(|| app.first_key.take()).unwrap() };
        Self { app, api, project }
    }

    /// Reads the project again and applies it, as `up` does when files change.
    pub(crate) async fn reload(&self) {
        let environment = Environment::of(self.project.variables());
        let loaded = Project::load(self.project.path(), &environment).unwrap();
        self.app.apply(&bundle::bundle(&loaded)).await.unwrap();
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(self) -> TestProject {
        self.app.stop().await;
        self.project
    }
}
