//! Characters written out as lines, with the marks of the quotes and lists that they stand in.

/// Deepest nesting of quotes and lists that is drawn; more is drawn at this depth.
const DEPTH: usize = 12;
/// Frames that are told apart at all.
const FRAMES: usize = 128;

/// What a line stands in.
enum Frame {
    /// A quote: `> `.
    Quote,
    /// A list; `None` for bullets, the next number for numbered ones.
    List(Option<u32>),
    /// An item of the list around it; the marker until it is written, then as many blanks.
    Item { marker: Option<String>, width: usize },
}

/// A kind of frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// See [`Frame::Quote`].
    Quote,
    /// See [`Frame::List`].
    List,
    /// See [`Frame::Item`].
    Item,
}

impl Frame {
    const fn kind(&self) -> Kind {
        match self {
            Self::Quote => Kind::Quote,
            Self::List(_) => Kind::List,
            Self::Item { .. } => Kind::Item,
        }
    }
}

/// Writes text with as few breaks as it is asked for.
#[derive(Default)]
pub(super) struct Lines {
    out: String,
    limit: usize,
    /// Line ends owed before the next character: 1 ends the line, 2 leaves a blank one.
    breaks: usize,
    /// A blank is owed before the next character.
    blank: bool,
    frames: Vec<Frame>,
    /// Frames open when the last line began.
    line_frames: usize,
    /// What is written before the next character, such as the mark of a heading.
    lead: String,
    /// The cell that is written instead of a line.
    cell: Option<String>,
    /// The line holds nothing but a blank that does not break.
    spacer: bool,
}

impl Lines {
    /// Writes no more than about `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn finish(mut self) -> String {
        let end = self.out.trim_end().len();
        self.out.truncate(end);
        self.out
    }

    /// Whether no more is written.
    pub(super) const fn is_full(&self) -> bool {
        self.out.len() >= self.limit
    }

    /// Where the next character goes, when nothing is owed before it.
    pub(super) fn place(&self) -> usize {
        self.cell.as_ref().map_or(self.out.len(), String::len)
    }

    /// What was written since `place`.
    pub(super) fn since(&self, place: usize) -> &str {
        self.cell.as_ref().unwrap_or(&self.out).get(place..).unwrap_or("")
    }

    /// Puts `mark` before what was written since `place`. Costs as much as that is long.
    pub(super) fn insert(&mut self, place: usize, mark: &str) {
        let target = self.cell.as_mut().unwrap_or(&mut self.out);
        if target.is_char_boundary(place) {
            target.insert_str(place, mark);
        }
    }

    /// Writes right behind the last character, whatever is owed.
    pub(super) fn append(&mut self, text: &str) {
        self.cell.as_mut().unwrap_or(&mut self.out).push_str(text);
    }

    /// Asks for line ends before the next character.
    pub(super) fn want(&mut self, breaks: usize) {
        if self.cell.is_some() {
            self.blank = true;
            return;
        }
        // The first block of an item stands beside its marker.
        if self.breaks > 0 && matches!(self.frames.last(), Some(Frame::Item { marker: Some(_), .. })) {
            return;
        }
        if self.spacer {
            self.spacer = false;
            self.breaks = (self.breaks + 1).min(2);
        }
        self.breaks = self.breaks.max(breaks.min(3));
    }

    /// One line end more than before.
    pub(super) fn break_line(&mut self, most: usize) {
        self.want(self.breaks.saturating_add(1).min(most));
    }

    /// Asks for a blank before the next character.
    pub(super) const fn want_blank(&mut self) {
        self.blank = true;
    }

    /// A blank that mailers put into a line to keep it open.
    pub(super) const fn hard_blank(&mut self) {
        self.blank = true;
        self.spacer = self.breaks > 0 && self.cell.is_none();
    }

    /// Writes `lead` before the next character, at the start of its line.
    pub(super) fn lead(&mut self, lead: &str) {
        self.lead.push_str(lead);
    }

    /// Takes back a lead that nothing followed.
    pub(super) fn take_lead(&mut self, lead: &str) -> bool {
        let pending = self.lead.ends_with(lead);
        if pending {
            self.lead.truncate(self.lead.len() - lead.len());
        }
        pending
    }

    /// Writes everything that is owed before a character, and says where that stands.
    pub(super) fn settle(&mut self) -> usize {
        self.spacer = false;
        if let Some(cell) = &mut self.cell {
            if self.blank && !cell.is_empty() && !cell.ends_with(' ') {
                cell.push(' ');
            }
        } else if self.breaks > 0 || self.out.is_empty() || self.has_marker() {
            self.start_line();
        } else if self.blank && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        self.blank = false;
        let place = self.place();
        if !self.lead.is_empty() {
            let lead = std::mem::take(&mut self.lead);
            self.append(&lead);
        }
        place
    }

    /// Writes characters that need nothing before them but what is owed.
    pub(super) fn push_str(&mut self, text: &str) {
        if !text.is_empty() && !self.is_full() {
            self.settle();
            self.append(text);
        }
    }

    fn has_marker(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Item { marker: Some(_), .. }))
    }

    fn start_line(&mut self) {
        if !self.out.is_empty() {
            let common = self.line_frames.min(self.frames.len());
            let blank = self.prefix(common);
            for nth in 0..self.breaks.max(1) {
                self.out.push_str(if nth > 0 { blank.trim_end() } else { "" });
                self.out.push('\n');
            }
        }
        let mut drawn = 0;
        for frame in &mut self.frames {
            if drawn >= DEPTH {
                break;
            }
            match frame {
                Frame::Quote => self.out.push_str("> "),
                Frame::List(_) => continue,
                Frame::Item { marker, width } => match marker.take() {
                    Some(marker) => self.out.push_str(&marker),
                    None => self.out.extend(std::iter::repeat_n(' ', *width)),
                },
            }
            drawn += 1;
        }
        (self.line_frames, self.breaks) = (self.frames.len(), 0);
    }

    /// What stands before a blank line within the first `count` frames; nothing outside quotes.
    fn prefix(&self, count: usize) -> String {
        let Some(last) = self.frames.iter().take(count).rposition(|frame| matches!(frame, Frame::Quote)) else {
            return String::new();
        };
        let drawn = self.frames.iter().take(last + 1).filter(|frame| !matches!(frame, Frame::List(_))).take(DEPTH);
        drawn
            .map(|frame| if let Frame::Item { width, .. } = frame { " ".repeat(*width) } else { "> ".to_owned() })
            .collect()
    }

    /// Opens a quote.
    pub(super) fn open_quote(&mut self) {
        self.want(if self.frames.iter().any(|frame| matches!(frame, Frame::Quote)) { 1 } else { 2 });
        self.open(Frame::Quote);
    }

    /// Opens a list; `first` is the first number of a numbered one.
    pub(super) fn open_list(&mut self, first: Option<u32>) {
        self.want(if self.frames.iter().any(|frame| matches!(frame, Frame::List(_))) { 1 } else { 2 });
        self.open(Frame::List(first));
    }

    /// Opens an item of the innermost list, ending the one before it.
    pub(super) fn open_item(&mut self, number: Option<u32>) {
        self.close_item();
        self.want(1);
        let marker = match self.frames.last_mut() {
            Some(Frame::List(Some(next))) => {
                let this = number.unwrap_or(*next);
                *next = this.saturating_add(1);
                format!("{this}. ")
            }
            Some(Frame::List(None) | Frame::Quote | Frame::Item { .. }) | None => "- ".to_owned(),
        };
        let width = marker.len();
        self.open(Frame::Item { marker: Some(marker), width });
    }

    /// Ends the innermost item, if it is of the innermost list.
    pub(super) fn close_item(&mut self) {
        let found = self.frames.iter().rposition(|frame| frame.kind() != Kind::Quote);
        if let Some(at) = found.filter(|at| self.frames.get(*at).is_some_and(|frame| frame.kind() == Kind::Item)) {
            self.want(1);
            self.frames.truncate(at);
        }
    }

    fn open(&mut self, frame: Frame) {
        if self.frames.len() < FRAMES {
            self.frames.push(frame);
        }
    }

    /// Closes the innermost frame of a kind, with what is open within it.
    pub(super) fn close(&mut self, kind: Kind) {
        let Some(at) = self.frames.iter().rposition(|frame| frame.kind() == kind) else { return };
        let nested = self.frames.iter().take(at).any(|frame| frame.kind() == kind);
        self.want(if nested { 1 } else { 2 });
        self.frames.truncate(at);
    }

    /// From here on a cell is written.
    pub(super) fn open_cell(&mut self) {
        self.cell = Some(String::new());
        (self.blank, self.spacer) = (false, false);
        self.lead.clear();
    }

    /// The cell that was written, if one was.
    pub(super) fn take_cell(&mut self) -> Option<String> {
        self.lead.clear();
        self.blank = false;
        self.cell.take()
    }
}
