//! What a conversation takes.

use crate::{
    domain::{
        count::believed,
        details::{ModelUsage, UnderWay},
        run::Usage,
    },
    executor::claude::{
        conversation::Conversation,
        message::{self, Content, Message, Mirror, Piece, TurnResult},
    },
};

impl Conversation<'_> {
    /// The end of a turn tells what it took. Where it does not, what was counted is taken.
    pub(super) fn bill(&mut self, result: &TurnResult) {
        let turns = believed(result.num_turns);
        let mut took = result.usage();
        if ModelUsage::from(took).tokens() == 0 {
            let counted = UnderWay { turns: 0, ..self.state.spending.so_far() };
            took = took.plus(counted.usage());
            self.sink.under_way(counted);
            self.sink.broke_off();
        } else {
            self.sink.under_way(UnderWay::default());
        }
        result.models().for_each(|(model, took)| self.sink.spent(model, took));
        self.sink.turns(turns);
        self.state.usage = self.state.usage.plus(Usage { turns, ..took });
        self.state.spending.told();
    }

    /// No result will tell of what was taken since the last one.
    pub(in crate::executor::claude) fn break_off(&mut self) {
        self.state.usage = self.state.usage.plus(self.state.spending.so_far().usage());
        self.state.spending.told();
        self.sink.broke_off();
    }

    /// What is said by a CLI that was stopped: perhaps a result, which tells what its turn cost.
    pub(in crate::executor::claude) fn hear_end(&mut self, chunk: &[u8]) {
        let mut framing = std::mem::take(&mut self.state.framing);
        if framing.push(chunk).is_err() {
            return;
        }
        while let Some(line) = framing.next() {
            if let Some(Message::Result(result)) = message::parse(line) {
                self.bill(&result);
            }
        }
        self.state.framing = framing;
    }

    pub(super) fn count_block(&mut self, content: &Content) {
        let is_new = self.state.spending.block(content);
        self.tell(is_new);
    }

    pub(super) fn count_piece(&mut self, piece: Option<&Piece>) {
        let is_new = piece.is_some_and(|piece| self.state.spending.piece(piece));
        self.tell(is_new);
    }

    pub(super) fn count_written(&mut self, frame: &Mirror) {
        // Between two turns the rest of the one that was billed is written down.
        let is_new = !self.state.clocks.is_between() && self.state.spending.written(frame);
        self.tell(is_new);
    }

    fn tell(&mut self, is_new: bool) {
        if is_new {
            self.sink.under_way(self.state.spending.so_far());
        }
    }

    /// What was consumed so far, as far as the CLI said.
    pub(in crate::executor::claude) const fn usage(&self) -> Usage {
        self.state.usage
    }

    /// It is counted from the process's start, perhaps with what went before it: a turn takes no longer than itself.
    pub(super) fn count_api_time(&mut self, result: &TurnResult) {
        let (now, before) = (result.duration_api_ms, self.state.api_ms.replace(result.duration_api_ms));
        self.sink.api_time(before.map_or(now.min(result.duration_ms), |before| now.saturating_sub(before)));
    }
}
