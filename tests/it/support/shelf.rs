//! A provider that keeps files: each path answers in turn, its last answer for ever.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, Response},
};
use tokio::{net::TcpListener, sync::Semaphore};

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    held: bool,
}

impl Given {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), held: false }
    }

    pub(crate) fn ok(body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::status(200) }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits for [`Shelf::release`].
    pub(crate) fn held(mut self) -> Self {
        self.held = true;
        self
    }
}

/// The server.
#[derive(Clone)]
pub(crate) struct Shelf {
    url: String,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    given: Arc<Mutex<HashMap<String, Vec<Given>>>>,
    leave: Arc<Semaphore>,
}

impl Shelf {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shelf = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            given: Arc::default(),
            leave: Arc::new(Semaphore::new(0)),
        };
        let there = shelf.clone();
        let router = Router::new().fallback(move |request: Request| {
            let shelf = there.clone();
            async move { shelf.answer(request.uri().to_string(), request.headers().clone()).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        shelf
    }

    async fn answer(&self, path: String, headers: HeaderMap) -> Response<Body> {
        self.asked.lock().unwrap().push((path.clone(), headers));
        let given = {
            let mut given = self.given.lock().unwrap();
            let answers = given.get_mut(&path);
            answers.map(|answers| if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
        };
        let given = given.unwrap_or_else(|| Given::status(500));
        if given.held {
            drop(self.leave.acquire().await.unwrap());
        }
        let mut response = Response::builder().status(given.status);
        for (name, value) in &given.headers {
            response = response.header(name, value);
        }
        response.body(Body::from(given.body)).unwrap()
    }

    /// Scheme and host.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What a path with its query answers.
    pub(crate) fn put(&self, path: &str, answers: &[Given]) {
        self.given.lock().unwrap().insert(path.to_owned(), answers.to_vec());
    }

    /// What was asked for so far.
    pub(crate) fn asked(&self) -> Vec<(String, HeaderMap)> {
        self.asked.lock().unwrap().clone()
    }

    /// Held answers go out.
    pub(crate) fn release(&self) {
        self.leave.add_permits(1_000);
    }
}
