//! Where conversations are kept beside the machine on which they take place.

use crate::executor::{BoxFuture, LeaseLost};

/// The end of a conversation that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The id of its last entry that has one.
    pub last: Option<String>,
    /// It grew too long and is not kept any more: nobody can go on by what is left.
    pub is_cut: bool,
}

/// Some entries of a conversation, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Lines, each with its end.
    pub lines: String,
    /// The id of the last entry that has one.
    pub last: Option<String>,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is kept.
    Yes,
    /// The conversation is too long to be kept: more need not be sent.
    TooLong,
}

/// Keeps the conversation of one run for whoever continues it, on whatever machine.
pub trait Transcripts: Send + Sync {
    /// How far a conversation is kept; `None` when nothing of it is.
    fn head<'a>(&'a self, conversation: &'a str) -> BoxFuture<'a, Result<Option<Head>, String>>;

    /// The pieces behind number `after`, in order, with their numbers; some of them. None left: that was all.
    fn read<'a>(&'a self, conversation: &'a str, after: i64) -> BoxFuture<'a, Result<Vec<(i64, String)>, String>>;

    /// Keeps a piece behind those that are kept. Waits while the store is in trouble; fails when the lease is gone.
    fn append<'a>(&'a self, conversation: &'a str, piece: &'a Piece) -> BoxFuture<'a, Result<Kept, LeaseLost>>;
}
