//! Lists in pages, newest first, continued by the last id seen.

use serde::Serialize;

/// The most that one page holds.
const MAX_PAGE: i64 = 200;

/// Which part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Only what is older than this id.
    pub before: Option<String>,
    /// At most this many; between 1 and 200.
    pub limit: i64,
}

impl Default for Page {
    fn default() -> Self {
        Self { before: None, limit: 50 }
    }
}

impl Page {
    /// The id below which rows are wanted; without one a text that sorts behind every id under any
    /// collation of the database (signs sort before letters under most).
    pub(super) fn below(&self) -> String {
        self.before.as_deref().map_or_else(|| "zzzz".to_owned(), |before| super::clean(before).into_owned())
    }

    /// One more than wanted, so that the page knows whether another follows.
    pub(super) fn fetch(&self) -> i64 {
        self.limit.clamp(1, MAX_PAGE) + 1
    }

    /// Cuts the extra row off.
    pub(super) fn cut<T>(&self, mut rows: Vec<T>, id: impl Fn(&T) -> String) -> PageOf<T> {
        let limit = usize::try_from(self.limit.clamp(1, MAX_PAGE)).unwrap_or(1);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(id) } else { None };
        PageOf { items: rows, next }
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct PageOf<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// The `before` of the next page; `None` on the last.
    pub next: Option<String>,
}

impl<T> PageOf<T> {
    /// The same page of other things.
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> PageOf<U> {
        PageOf { items: self.items.into_iter().map(each).collect(), next: self.next }
    }
}
